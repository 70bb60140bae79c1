"""HOG targets: histograms of oriented gradients of hidden patches (MaskFeat, Wei et al. 2021, arXiv:2112.09133)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.api import at_least
from unmask_vision.targets.gradients import sobel
from unmask_vision.targets.map_target import MapTarget


class HOGTarget(MapTarget):
    """In each cell and channel, how much gradient points which way, as a vector of length 1.

    Each pixel adds its gradient's magnitude, times a window, to the bin of its orientation, of which there are
    ``num_bins`` in 180 degrees; the sums over a cell are divided by their Euclidean norm. As in the released code there
    are no blocks, gradients are Sobel's, and bins are hard. A constant image has zeros.

    T is ``(patch_size / cell_size) ** 2 * num_bins * channels``, cells row by row, in each the channels' bins.

    Args:
        channels: C, of the images.
        num_bins: in 180 degrees, at least 1 (section 3.2).
        cell_size: pixels of a cell's side, which must divide the patch's (section 3.2).
        window_size: pixels of a Gaussian window's side, of a deviation of half as many, laid side by side over the
            image; None: no window. 16 as in MMSelfSup's; the released class has none by default.

    Raises:
        ValueError: a number below 1; when called, cells that do not divide a patch.
    """

    def __init__(self, channels: int = 3, num_bins: int = 9, cell_size: int = 8, window_size: int | None = 16) -> None:
        super().__init__(channels)
        at_least(1, num_bins=num_bins, cell_size=cell_size, window_size=window_size or 1)
        self.num_bins, self.cell_size, self.window_size = num_bins, cell_size, window_size

    def width(self, patch_size: int) -> int:
        """T.

        Raises:
            ValueError: cells that do not divide a patch.
        """
        if patch_size % self.cell_size:
            fits = [n for n in range(1, patch_size + 1) if patch_size % n == 0]
            near = min(fits, key=lambda n: abs(n - self.cell_size))
            raise ValueError(
                f"`cell_size` must divide the patch size {patch_size}, but is {self.cell_size}; nearest: {near}."
            )
        return (patch_size // self.cell_size) ** 2 * self.num_bins * self.channels

    def map(self, image: Tensor, patch_size: int) -> Tensor:
        self.width(patch_size)
        across, down = sobel(image)
        magnitude = torch.hypot(across, down)  # [B, C, H, W]
        if self.window_size is not None:
            magnitude = magnitude * window(self.window_size, image.shape[2], image.shape[3], image.device)
        share = torch.atan2(across, down) / math.pi * self.num_bins  # in [-bins, bins]
        bins = share.floor().long() % self.num_bins

        histogram = magnitude.new_zeros(*image.shape[:2], self.num_bins, *image.shape[2:])  # [B, C, bins, H, W]
        histogram = histogram.scatter(2, bins[:, :, None], magnitude[:, :, None])
        cells = F.avg_pool2d(histogram.flatten(1, 2), self.cell_size) * self.cell_size**2
        return F.normalize(cells.unflatten(1, (-1, self.num_bins)), dim=2).flatten(1, 2)  # [B, C * bins, H/k, W/k]


def window(size: int, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """A Gaussian of a deviation of half its size, laid side by side: ``[height, width]``; its scale is left open."""
    place = torch.arange(size, dtype=torch.float32, device=device)
    bell = torch.exp(-0.5 * ((place - place.mean()) / max(size // 2, 1)) ** 2)
    rows = torch.arange(height, device=device) % size
    columns = torch.arange(width, device=device) % size
    return bell[rows][:, None] * bell[columns]
