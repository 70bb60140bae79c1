"""Block mask: a union of random rectangles (BEiT, Bao et al. 2021, algorithm 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.masks.random import lowest
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Ratio
from unmask.structures import Grid, Sequence

_ATTEMPTS = 12
"""Blocks drawn per sample. Each takes half of what is left on average, so few are ever needed."""


class BlockMask(MaskSampler):
    """Hides blocks until the number of hidden places is reached: runs on a sequence.

    A block's area is drawn evenly between ``min_block`` and the number still to hide, its aspect
    (rows / columns) log-evenly, its position evenly. One that would hide too many places is not
    used. When fewer than ``min_block`` are left, the last block used grows by them, outwards from
    its border, so that the count is exact and nothing is hidden in isolation.

    Args:
        ratio: share to hide, in (0, 1), a schedule or a spread of it. BEiT's default (section 2.3).
        min_block: smallest area of a block in places, at least 1; on a small grid at most half of
            the places to hide.
        aspect: least and greatest rows / columns of a block, both above 0.

    Raises:
        ValueError: an argument outside its range, or a layout that is neither a sequence nor a 2-D grid.

    Differs from the paper in that the count is exact (BEiT stops within one block of it), and in
    that a block too long for the grid is cut to it at the same area.
    """

    layouts = (Sequence, Grid)
    grid_sides = (2,)

    def __init__(
        self,
        ratio: Ratio = 0.4,
        min_block: int = 16,
        aspect: tuple[float, float] = (0.3, 1 / 0.3),
    ) -> None:
        super().__init__(ratio)
        if min_block < 1:
            raise ValueError(f"`min_block` must be at least 1 place, but is {min_block}.")
        if not 0 < aspect[0] <= aspect[1]:
            raise ValueError(f"`aspect` must be (least, greatest), both above 0, but is {tuple(aspect)}.")
        self.min_block = min_block
        self.aspect = aspect

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        valid, counts = among.valid, among.counts
        rows, columns = among.layout.shape if isinstance(among.layout, Grid) else (1, valid.shape[1])
        real = valid.reshape(-1, rows, columns)  # [B, R, C]
        first, length = extent(real)  # [2, B] each: rows, columns
        least = torch.clamp(counts // 2, 1, self.min_block)  # [B]
        low, high = (math.log(bound) for bound in self.aspect)
        tries = draws.uniform(_ATTEMPTS + 1, 4).permute(1, 2, 0)  # [tries, 4, B]

        hidden = torch.zeros_like(real)
        # Should no block be used, a single place is what grows.
        last = torch.stack([first + (length * tries[-1, :2]).long(), torch.ones_like(first)])  # [2, 2, B]
        for draw in tries[:-1]:
            left = counts - hidden.sum((1, 2))  # [B]
            area = least + (left - least + 1).clamp(min=1) * draw[0]
            height = (area.floor() * torch.exp(low + (high - low) * draw[1])).sqrt().round()
            height = height.clamp(min=1).minimum(length[0])
            width = (area.floor() / height).round().clamp(min=1).minimum(length[1])
            size = torch.stack([height, width]).long()  # [2, B]
            block = torch.stack([first + ((length - size + 1) * draw[2:]).long(), size])
            new = (_distance(block, rows, columns) == 0) & real & ~hidden
            num_new = new.sum((1, 2))
            used = (num_new > 0) & (num_new <= left) & (left >= least)
            hidden |= new & used[:, None, None]
            last = torch.where(used, block, last)

        # Growth takes the places nearest to the last block, those at one side of it first.
        angle = 2 * math.pi * tries[-1, 2]
        at_row = torch.arange(rows, device=valid.device)[:, None] / rows - 0.5
        at_column = torch.arange(columns, device=valid.device) / columns - 0.5
        side = at_row * angle.sin()[:, None, None] + at_column * angle.cos()[:, None, None]  # in (-1, 1)
        key = (_distance(last, rows, columns) + 0.49 * side).masked_fill(hidden, -1)
        return lowest(key.flatten(1), counts, valid)


def extent(real: Tensor) -> tuple[Tensor, Tensor]:
    """First row and column with a real place, and number of those ``[2, B]``, of ``[B, R, C]``."""
    axes = [real.any(2).byte(), real.any(1).byte()]
    first = torch.stack([axis.argmax(1) for axis in axes])
    return first, torch.stack([axis.sum(1) for axis in axes])


def _distance(block: Tensor, rows: int, columns: int) -> Tensor:
    """Steps from every place to the block ``[B, R, C]``, 0 inside it.

    Args:
        block: ``[2, 2, B]``: first row and column, then number of those.
    """
    start, end = block[0], block[0] + block[1] - 1
    steps = []
    for axis, side in enumerate((rows, columns)):
        at = torch.arange(side, device=block.device)
        steps.append(torch.maximum(start[axis][:, None] - at, at - end[axis][:, None]).clamp(min=0))
    return steps[0][:, :, None] + steps[1][:, None, :]
