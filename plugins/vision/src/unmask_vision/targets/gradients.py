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

    Of volumes, ``sqrt(gx^2 + gy^2 + gz^2)`` by Sobel's kernels of three sides, in the same units: a volume of one slice
    repeated has the gradients of that slice.

    Arguments are those of `MapTarget`; T is that of pixels, as many as a token has values.
    """

    def map(self, image: Tensor, patch_size: int) -> Tensor:
        if image.ndim == 4:
            return torch.hypot(*sobel(image))
        squares = torch.zeros_like(image)
        for axis in range(3):
            squares = squares + _derivative(image, axis).square()
        return squares.sqrt()


def _derivative(volume: Tensor, axis: int) -> Tensor:
    """Of ``[B, C, depth, H, W]`` along one axis, smoothed along the others: of as many units as an image's."""
    x = F.pad(volume, (1, 1, 1, 1, 1, 1), mode="reflect")
    for other in range(3):
        first, middle, last = (x.narrow(2 + other, i, volume.shape[2 + other]) for i in range(3))
        x = first - last if other == axis else first + 2 * middle + last
    return x / 4
