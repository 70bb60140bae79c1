"""Time-frequency blocks: targets whose times and frequencies are out of sight (A-JEPA, Fei et al. 2023, section 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unmask.families import MaskSampler
from unmask.handoffs import Grid, Layout, Mask
from unmask.masks.random import lowest

_ATTEMPTS = 8
"""Positions of all blocks drawn per sample; the first that leave enough context are used."""


class TimeFrequencyBlockMask(MaskSampler):
    """Asks for answers in ``num_targets`` blocks, given a context that shares no time and no frequency with them.

    What sounds at a time or a frequency goes on beside it, so a block that is only cut out (`MultiBlockMask`) can be
    filled from its borders. Here all patches in the same rows or columns as a target are hidden, too. A block's sides
    are in the grid's own proportion: three of 5 to 7.5% are a quarter of each axis wide and always leave a context.
    Sizes are drawn once a batch, positions for each sample; contexts are cut to the smallest of the batch by dropping
    random places.

    Args:
        num_targets: target blocks, at least 1. Appendix A, as are the next two.
        target_scale: least and greatest share of the grid in a target, in (0, 1).
        context_scale: least and greatest share of the grid in the context block, in (0, 1].
        min_keep: places that the context keeps at least, 1 or more; on a small grid at most an eighth of it. Where no
            position drawn keeps as many, the sample's targets all lie on one another.

    Raises:
        ValueError: an argument outside its range, or a layout other than a 2-D grid without padding of at least 2
            patches a side.

    Differs from the paper, which gives scales but neither code nor the blocks' proportions, as told above.
    """

    layouts = (Grid,)
    grid_sides = (2,)

    def __init__(
        self,
        num_targets: int = 3,
        target_scale: tuple[float, float] = (0.05, 0.075),
        context_scale: tuple[float, float] = (0.85, 1.0),
        min_keep: int = 10,
    ) -> None:
        super().__init__()
        if num_targets < 1:
            raise ValueError(f"`num_targets` must be at least 1, but is {num_targets}.")
        if not 0 < target_scale[0] <= target_scale[1] < 1:
            raise ValueError(f"`target_scale` must be (least, greatest) in (0, 1), but is {tuple(target_scale)}.")
        if not 0 < context_scale[0] <= context_scale[1] <= 1:
            raise ValueError(f"`context_scale` must be (least, greatest) in (0, 1], but is {tuple(context_scale)}.")
        if min_keep < 1:
            raise ValueError(f"`min_keep` must be at least 1 place, but is {min_keep}.")
        self.num_targets = num_targets
        self.target_scale = target_scale
        self.context_scale = context_scale
        self.min_keep = min_keep

    def check(self, layout: Layout, num_tokens: int, valid: Tensor | None) -> None:
        super().check(layout, num_tokens, valid)
        if valid is not None:
            raise ValueError("TimeFrequencyBlockMask works on grids without padding only, but some samples are padded.")
        if min(layout.shape) < 2:  # type: ignore[attr-defined]  # a grid, or refused above
            raise ValueError(f"A grid must have at least 2 patches a side, but it is a {layout}.")

    def sample(self, valid: Tensor, counts: Tensor, layout: Layout, generator: torch.Generator | None) -> Mask:
        assert isinstance(layout, Grid)  # `check` let nothing else pass
        batch, device, sides = len(valid), valid.device, layout.shape
        u, v = torch.rand(2, generator=generator, device=device).tolist()
        target = [_length(side, self.target_scale, u) for side in sides]
        spots = torch.rand(2, batch, _ATTEMPTS, self.num_targets + 1, generator=generator, device=device)

        # Which times and which frequencies each block has, several times over. [B, tries, blocks, side]
        lines = [_lines(spot[..., :-1], length, side) for spot, length, side in zip(spots, target, sides, strict=True)]
        context = [_lines(spot[..., -1], _length(side, self.context_scale, v, most=side), side)
                   for spot, side in zip(spots, sides, strict=True)]  # [B, tries, side]  # fmt: skip
        spared = _cells(*(~one.any(2) for one in lines))  # [B, tries, N]
        shown = spared & _cells(*context)

        least = max(min(self.min_keep, valid.shape[1] // 8), 1)
        kept, tried = shown.sum(-1).clamp(max=least).max(1)  # [B]: whether enough, and which try
        each = torch.arange(batch, device=device)
        targets = _cells(*(one[each, tried] for one in lines))  # [B, G, N]
        alone = _cells(*(~one[each, tried, 0] for one in lines))  # [B, N]: out of the first target's lines
        vain = (kept < least)[:, None]
        targets = torch.where(vain[..., None], targets[:, :1], targets)
        shown = torch.where(vain, alone, shown[each, tried])

        sizes = shown.sum(1)
        num_kept = int(sizes.min())
        noise = torch.rand(valid.shape, generator=generator, device=device)
        visible = lowest(noise, torch.full_like(sizes, num_kept), shown)
        return Mask(~visible, predict=targets, num_hidden=valid.shape[1] - num_kept, num_predict=math.prod(target))


def _length(side: int, scale: tuple[float, float], share: float, most: int | None = None) -> int:
    """Places of a block along an axis; fewer than the axis has unless ``most`` says otherwise."""
    area = scale[0] + (scale[1] - scale[0]) * share
    return min(max(round(side * math.sqrt(area)), 1), most or side - 1)


def _lines(spots: Tensor, length: int, side: int) -> Tensor:
    """The places of an axis that blocks at ``spots`` in [0, 1) cover: ``[..., side]`` bool."""
    start = (spots * (side - length + 1)).long()[..., None]
    at = torch.arange(side, device=spots.device)
    return (at >= start) & (at < start + length)


def _cells(times: Tensor, frequencies: Tensor) -> Tensor:
    """Places whose time and whose frequency are both chosen: ``[..., N]``."""
    return (times[..., :, None] & frequencies[..., None, :]).flatten(-2)
