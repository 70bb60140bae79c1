"""Grid mask: one place of each cell stays visible (MAE, He et al. 2021, figure 6 "grid")."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.parts import Candidates, MaskSampler
from unmask.structures import Grid, Layout, Sequence
from unmask.support.checks import at_least


class GridMask(MaskSampler):
    """Keeps one place of every cell of ``stride`` places a side and hides all the others.

    Which one is drawn per sample and is the same in all its cells. Where a last cell is cut off and
    lacks that place, its last one stays, so the count is a function of the geometry alone: the
    product of ``ceil(side / stride)`` over the sides stays visible (75 % hidden at stride 2 in 2-D).

    Args:
        stride: side of a cell in places, at least 2.

    Raises:
        ValueError: ``stride`` outside its range, a layout without order, or a padded grid.

    Differs from the paper in that the kept place moves from sample to sample.
    """

    layouts = (Sequence, Grid)

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        at_least(2, stride=stride)
        self.stride = stride

    def check(self, layout: Layout, num_tokens: int, valid: Tensor | None) -> None:
        super().check(layout, num_tokens, valid)
        if valid is not None and isinstance(layout, Grid):
            raise ValueError("GridMask works on padded sequences but not on padded grids.")

    def count(self, num_tokens: int, layout: Layout, ratio: float | None) -> int:
        if num_tokens < 2:
            raise ValueError(f"A sample must have at least 2 tokens to hide one, but has {num_tokens}.")
        sides = layout.shape if isinstance(layout, Grid) else (num_tokens,)
        return num_tokens - math.prod(math.ceil(side / self.stride) for side in sides)

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        valid, layout = among.valid, among.layout
        sides = layout.shape if isinstance(layout, Grid) else (valid.shape[1],)
        phases = draws.integers(self.stride, len(sides)).T  # [sides, B]
        if isinstance(layout, Sequence):  # counted from a sample's first real place to its last
            at = valid.cumsum(1) - 1  # [B, N]
            return valid & ~self._kept(at, valid.sum(1), phases[0])

        kept = torch.ones_like(valid).view(-1, *sides)
        for axis, side in enumerate(sides):
            at = torch.arange(side, device=valid.device)[None]  # [1, side]
            shape = [len(valid)] + [side if other == axis else 1 for other in range(len(sides))]
            kept &= self._kept(at, torch.full_like(phases[axis], side), phases[axis]).view(shape)
        return ~kept.flatten(1)

    def _kept(self, at: Tensor, lengths: Tensor, phases: Tensor) -> Tensor:
        """Which places ``at`` ``[B, side]`` of an axis stay, by its lengths and phases ``[B]``."""
        last = lengths[:, None] - 1
        in_cut_cell = (at == last) & (last % self.stride < phases[:, None])
        return (at % self.stride == phases[:, None]) | in_cut_cell
