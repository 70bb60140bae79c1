"""Sobel gradients of images, and their magnitude as a target (Uni4Eye, Cai et al. 2022, section 2.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask_vision.targets.map_target import MapTarget


def sobel(image: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives along columns and along rows of pixels ``[B, C, H, W]``, whose border is mirrored.

    A ramp that grows by 1 a pixel has the derivative -8: the kernel ``(1, 0, -1)`` is laid on as it stands.
    """
    smooth, difference = image.new_tensor([1.0, 2.0, 1.0]), image.new_tensor([1.0, 0.0, -1.0])
    kernels = torch.stack([smooth[:, None] * difference, difference[:, None] * smooth])[:, None]  # [2, 1, 3, 3]
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect").flatten(0, 1)[:, None]
    along = F.conv2d(padded, kernels).unflatten(0, image.shape[:2])  # [B, C, 2, H, W]
    return along[:, :, 0], along[:, :, 1]


class GradientTarget(MapTarget):
    """``sqrt(gx^2 + gy^2)`` of each pixel and channel: Sobel's, in units of the tokens' values per 8 pixels.

    Arguments are those of `MapTarget`; T is that of pixels, ``patch_size ** 2 * channels``.
    """

    def map(self, image: Tensor, patch_size: int) -> Tensor:
        across, down = sobel(image)
        return torch.hypot(across, down)
