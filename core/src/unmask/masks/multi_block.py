"""Multi-block mask: one large context, several targets cut out of it (I-JEPA, Assran et al. 2023, section 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unmask.families import MaskSampler
from unmask.handoffs import Grid, Layout, Mask
from unmask.masks.random import lowest

_ATTEMPTS = 8
"""Positions of all blocks drawn per sample; the first that leave enough context are used."""


class MultiBlockMask(MaskSampler):
    """Asks for answers in ``num_targets`` blocks, given one context block less all those targets.

    Sizes are drawn once a batch and positions for each sample, so that all targets of a batch have
    as many places. Contexts are cut to the smallest of the batch by dropping random places. All
    that is not in the context is hidden; answers are asked in groups ``[B, num_targets, N]``.
    One draw sets both scale and aspect of the targets, as in the code that the authors released:
    large targets are the tall ones.

    Args:
        num_targets: target blocks, at least 1. Appendix A.1, as are the next three.
        target_scale: least and greatest share of the grid in a target, in (0, 1).
        target_aspect: least and greatest rows / columns of a target, both above 0.
        context_scale: least and greatest share of the grid in the context block (its sides are in
            the grid's own proportion), in (0, 1].
        min_keep: places that the context keeps at least, 1 or more; on a small grid at most a
            quarter of it. Where no position drawn keeps as many, the sample's targets all lie on
            one another and its context is the rest of the grid.

    Raises:
        ValueError: an argument outside its range, or a layout other than a 2-D grid without padding.

    Differs from the released code in that a block may touch the last row and column (there an
    off-by-one keeps them out), in that the context's surplus is dropped at random (there from the
    bottom), and in that the context never holds a target (there it may after 20 vain attempts).
    """

    layouts = (Grid,)
    grid_sides = (2,)

    def __init__(
        self,
        num_targets: int = 4,
        target_scale: tuple[float, float] = (0.15, 0.2),
        target_aspect: tuple[float, float] = (0.75, 1.5),
        context_scale: tuple[float, float] = (0.85, 1.0),
        min_keep: int = 10,
    ) -> None:
        super().__init__()
        if num_targets < 1:
            raise ValueError(f"`num_targets` must be at least 1, but is {num_targets}.")
        if not 0 < target_scale[0] <= target_scale[1] < 1:
            raise ValueError(f"`target_scale` must be (least, greatest) in (0, 1), but is {target_scale}.")
        if not 0 < target_aspect[0] <= target_aspect[1]:
            raise ValueError(f"`target_aspect` must be (least, greatest), both above 0, but is {target_aspect}.")
        if not 0 < context_scale[0] <= context_scale[1] <= 1:
            raise ValueError(f"`context_scale` must be (least, greatest) in (0, 1], but is {context_scale}.")
        if min_keep < 1:
            raise ValueError(f"`min_keep` must be at least 1 place, but is {min_keep}.")
        self.num_targets = num_targets
        self.target_scale = target_scale
        self.target_aspect = target_aspect
        self.context_scale = context_scale
        self.min_keep = min_keep

    def check(self, layout: Layout, num_tokens: int, valid: Tensor | None) -> None:
        super().check(layout, num_tokens, valid)
        if valid is not None:
            raise ValueError("MultiBlockMask works on grids without padding only, but some samples are padded.")
        if num_tokens < 2:
            raise ValueError(f"A sample must have at least 2 tokens to hide one, but has {num_tokens}.")

    def sample(self, valid: Tensor, counts: Tensor, layout: Layout, generator: torch.Generator | None) -> Mask:
        assert isinstance(layout, Grid)  # `check` let nothing else pass
        batch, num_tokens = valid.shape
        device = valid.device
        rows, columns = layout.shape
        u, v = torch.rand(2, generator=generator, device=device).tolist()
        target = _size(rows, columns, _between(self.target_scale, u), _between(self.target_aspect, u))
        context_size = _size(rows, columns, _between(self.context_scale, v), rows / columns)
        num_predict = target[0] * target[1]

        # Positions of all blocks, several times over. [B, tries, blocks, N]
        spots = torch.rand(2, batch, _ATTEMPTS, self.num_targets + 1, generator=generator, device=device)
        targets = _blocks(spots[..., :-1], target, rows, columns)
        context = _blocks(spots[..., -1:], context_size, rows, columns).squeeze(2) & ~targets.any(2)

        least = min(self.min_keep, max(num_tokens // 4, 1), num_tokens - num_predict)
        kept, tried = context.sum(-1).clamp(max=least).max(1)  # [B]: whether enough, and which try
        each = torch.arange(batch, device=device)
        targets, context = targets[each, tried], context[each, tried]  # [B, G, N], [B, N]
        vain = kept < least
        targets = torch.where(vain[:, None, None], targets[:, :1], targets)
        context = torch.where(vain[:, None], ~targets[:, 0], context)

        sizes = context.sum(1)
        num_kept = int(sizes.min())
        noise = torch.rand(batch, num_tokens, generator=generator, device=device)
        visible = lowest(noise, torch.full_like(sizes, num_kept), context)
        return Mask(~visible, predict=targets, num_hidden=num_tokens - num_kept, num_predict=num_predict)


def _between(bounds: tuple[float, float], share: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * share


def _size(rows: int, columns: int, scale: float, aspect: float) -> tuple[int, int]:
    """Rows and columns of a block, never as many as the grid has unless that is one."""
    area = int(rows * columns * scale)
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return min(max(height, 1), max(rows - 1, 1)), min(max(width, 1), max(columns - 1, 1))


def _blocks(spots: Tensor, size: tuple[int, int], rows: int, columns: int) -> Tensor:
    """Blocks of one size ``[B, tries, blocks, N]`` at positions ``[2, B, tries, blocks]`` in [0, 1)."""
    within = []
    for spot, length, side in zip(spots, size, (rows, columns), strict=True):
        start = (spot * (side - length + 1)).long()[..., None]
        at = torch.arange(side, device=spots.device)
        within.append((at >= start) & (at < start + length))
    return (within[0][..., :, None] & within[1][..., None, :]).flatten(-2)
