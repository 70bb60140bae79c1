"""Cubes: a volume as a grid of blocks of voxels, as patches are of an image."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask import Grid, Layout, Tokenizer, Tokens
from unmask.api import at_least
from unmask.nn import cut

GREY = 0.55
"""Brightness in [0, 1] at which hidden places are drawn."""


class CubeTokenizer(Tokenizer):
    """``[B, C, depth, height, width]`` to ``[B, N, V]``; values of a block in (depth, row, column, channel) order.

    Args:
        cube_size: sides of a block in voxels, depth first; one number: the same for all. Must divide those of volumes.
        channels: C.
        mean: subtracted from voxels in [0, 1].
        std: divided by, above 0.
        key: of the volumes in a batch.

    Raises:
        ValueError: a number out of range; when called, another number of channels or unfit sides.
    """

    def __init__(
        self,
        cube_size: int | tuple[int, int, int] = 16,
        channels: int = 1,
        mean: float = 0.0,
        std: float = 1.0,
        key: str = "volume",
    ) -> None:
        super().__init__()
        sides = (cube_size,) * 3 if isinstance(cube_size, int) else tuple(cube_size)
        at_least(1, channels=channels, cube_size=min(sides))
        if not std > 0:
            raise ValueError(f"`std` must be above 0, but is {std}.")
        self.cube_size, self.channels, self.mean, self.std, self.key = sides, channels, mean, std, key

    @property
    def num_values(self) -> int:
        """V."""
        return prod(self.cube_size) * self.channels

    def forward(self, batch: Mapping[str, Any] | Tensor) -> Tokens:
        volume: Tensor = batch if isinstance(batch, Tensor) else batch[self.key]
        channels, sides = volume.shape[1], tuple(volume.shape[2:])
        if channels != self.channels:
            raise ValueError(f"`channels` must be {channels}, as in the volumes, but is {self.channels}.")
        if any(side % own for side, own in zip(sides, self.cube_size, strict=True)):
            near = [max(round(side / own), 1) * own for side, own in zip(sides, self.cube_size, strict=True)]
            raise ValueError(
                f"Sides of volumes must be multiples of `cube_size` {_by(self.cube_size)}, but are {_by(sides)}; "
                f"nearest: {_by(near)}."
            )
        grid = Grid(tuple(side // own for side, own in zip(sides, self.cube_size, strict=True)))
        return Tokens(cut((volume - self.mean) / self.std, grid, prod(grid.shape)), grid)

    def volume(self, values: Tensor, layout: Layout) -> Tensor:
        """Blocks ``[B, N, V]`` back to voxels ``[B, C, depth, height, width]``, in the units of the batch."""
        assert isinstance(layout, Grid)
        x = values.view(-1, *layout.shape, *self.cube_size, self.channels).permute(0, 7, 1, 4, 2, 5, 3, 6)
        whole = [count * side for count, side in zip(layout.shape, self.cube_size, strict=True)]
        return x.reshape(len(values), self.channels, *whole) * self.std + self.mean

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """The middle slice across the depth; three or more channels are colour, and the fourth how opaque it is."""
        values = tokens.values.float()
        volume = self.volume(values, tokens.layout).clamp(0, 1)
        middle = volume[:, :, volume.shape[2] // 2]  # [B, C, H, W]
        pixels = middle[:, :3] if self.channels >= 3 else middle[:, :1].expand(-1, 3, -1, -1)
        if self.channels >= 4:
            pixels = pixels * middle[:, 3:4]
        if hidden is not None:
            shade = hidden[..., None].to(values.dtype).expand_as(values)
            covered = (self.volume(shade, tokens.layout) - self.mean) / self.std > 0.5
            pixels = pixels.masked_fill(covered[:, :1, volume.shape[2] // 2], GREY)
        return list((pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())


def _by(sides: Any) -> str:
    return "x".join(str(side) for side in sides)
