"""Multi-block mask: one large context, several targets cut out of it (I-JEPA, Assran et al. 2023, section 3)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.masks.random import lowest
from unmask.parts import Candidates, MaskSampler
from unmask.structures import Grid, Layout, Mask
from unmask.support.checks import at_least

_ATTEMPTS = 8
"""Positions of all blocks drawn per sample; the first that leave enough context are used."""


class MultiBlockMask(MaskSampler):
    """Asks for answers in ``num_targets`` blocks, given one context block less all those targets.

    Sizes are drawn once a batch and positions for each sample, so that all targets of a batch have
    as many places. Contexts are cut to the smallest of the batch by dropping random places. All
    that is not in the context is hidden; answers are asked in groups ``[B, num_targets, N]``.
    One draw sets both scale and aspect of the targets, as in the code that the authors released:
    large targets are the tall ones. Of samples that end before the grid does, what is drawn are
    shares of their own rows and columns, and no context is cut.

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
        ValueError: an argument outside its range, a layout other than a 2-D grid, or padding other
            than whole rows and columns at its end.

    Differs from the released code in that a block may touch the last row and column (there an
    off-by-one keeps them out), in that the context's surplus is dropped at random (there from the
    bottom), and in that the context never holds a target (there it may after 20 vain attempts).
    """

    layouts = (Grid,)
    grid_sides = (2,)
    small: ClassVar[int] = 4
    """Of a small grid, contexts keep at least one place in so many."""

    def __init__(
        self,
        num_targets: int = 4,
        target_scale: tuple[float, float] = (0.15, 0.2),
        target_aspect: tuple[float, float] = (0.75, 1.5),
        context_scale: tuple[float, float] = (0.85, 1.0),
        min_keep: int = 10,
    ) -> None:
        super().__init__()
        at_least(1, num_targets=num_targets)
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
        if num_tokens < 2:
            raise ValueError(f"A sample must have at least 2 tokens to hide one, but has {num_tokens}.")
        if valid is not None:
            assert isinstance(layout, Grid)
            sides = _own_sides(valid, layout)  # [B, 2]
            rows, columns = (torch.arange(side, device=valid.device) for side in layout.shape)
            if not torch.equal(valid, cells(rows < sides[:, :1], columns < sides[:, 1:])):
                raise ValueError(
                    f"{type(self).__name__} works on grids padded by whole rows or columns at the end, but some "
                    "samples are padded elsewhere."
                )
            for own in sides.unique(dim=0).tolist():
                self.check(Grid(tuple(own)), math.prod(own), None)

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        valid, layout = among.valid, among.layout
        assert isinstance(layout, Grid)  # `check` let nothing else pass
        batch, device = len(valid), valid.device
        [[u, v]] = draws.shared(among.progress.step).uniform(2).tolist()
        spots = draws.uniform(2, _ATTEMPTS, self.num_targets + 1).transpose(0, 1)  # [2, B, tries, blocks]

        # What blocks measure on each of the grids of this batch: one, unless samples are padded.
        sides, which = _own_sides(valid, layout).unique(dim=0, return_inverse=True)  # [kinds, 2], [B]
        sizes = [(*self.sizes(rows, columns, u, v), rows * columns) for rows, columns in sides.tolist()]
        least = [max(min(self.min_keep, num // self.small, num - math.prod(size)), 1) for size, _, num in sizes]
        target, context = (torch.tensor(size, device=device)[which] for size in list(zip(*sizes, strict=True))[:2])
        enough = torch.tensor(least, device=device)[which]  # [B]

        # Which rows and which columns each block has, several times over. [B, tries, blocks, side]
        own = sides[which]
        lines, around = [], []
        for axis, side in enumerate(layout.shape):
            lines.append(_lines(spots[axis, ..., :-1], target[:, axis], own[:, axis], side))
            around.append(_lines(spots[axis, ..., -1:], context[:, axis], own[:, axis], side).squeeze(2))
        shown = self.spared(*lines) & cells(*around)  # [B, tries, N]

        kept, tried = torch.minimum(shown.sum(-1), enough[:, None]).max(1)  # [B]: whether enough, and which try
        each = torch.arange(batch, device=device)
        rows, columns = (line[each, tried] for line in lines)  # [B, blocks, side]
        vain = (kept < enough)[:, None]
        targets = cells(rows, columns)  # [B, G, N]
        targets = torch.where(vain[..., None], targets[:, :1], targets)
        shown = torch.where(vain, self.spared(rows[:, :1], columns[:, :1]) & valid, shown[each, tried])

        if len(sides) > 1:
            return Mask(~shown & valid, predict=targets)
        counts = shown.sum(1)
        num_kept = int(counts.min())
        visible = lowest(draws.uniform(valid.shape[1]), torch.full_like(counts, num_kept), shown)
        [(size, _, num_tokens)] = sizes
        return Mask(~visible & valid, predict=targets, num_hidden=num_tokens - num_kept, num_predict=math.prod(size))

    def sizes(self, rows: int, columns: int, u: float, v: float) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns of targets and of the context on such a grid; ``u`` and ``v`` in [0, 1] tell how large."""
        target = _size(rows, columns, between(self.target_scale, u), between(self.target_aspect, u))
        return target, _size(rows, columns, between(self.context_scale, v), rows / columns)

    def spared(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Places that targets leave to the context.

        Args:
            rows: ``[..., blocks, R]`` bool, which rows of the grid each target has.
            columns: ``[..., blocks, C]`` bool, likewise.

        Returns:
            ``[..., R * C]`` bool.
        """
        return ~cells(rows, columns).any(-2)


def between(bounds: tuple[float, float], share: float) -> float:
    """The point a ``share`` of the way from the first bound to the second."""
    return bounds[0] + (bounds[1] - bounds[0]) * share


def cells(rows: Tensor, columns: Tensor) -> Tensor:
    """Places whose row, of ``[..., R]``, and whose column, of ``[..., C]``, are both chosen: ``[..., R * C]``."""
    return (rows[..., :, None] & columns[..., None, :]).flatten(-2)


def _size(rows: int, columns: int, scale: float, aspect: float) -> tuple[int, int]:
    """Rows and columns of a block, never as many as the grid has unless that is one."""
    area = int(rows * columns * scale)
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return min(max(height, 1), max(rows - 1, 1)), min(max(width, 1), max(columns - 1, 1))


def _own_sides(valid: Tensor, layout: Grid) -> Tensor:
    """How many rows and columns of the grid each sample has: ``[B, 2]``."""
    real = valid.unflatten(1, layout.shape)
    return torch.stack([real.any(2).sum(1), real.any(1).sum(1)], dim=1)


def _lines(spots: Tensor, lengths: Tensor, sides: Tensor, longest: int) -> Tensor:
    """What of an axis blocks cover: ``[B, tries, blocks, longest]`` bool.

    Blocks lie at ``spots`` ``[B, tries, blocks]`` in [0, 1); each sample's are ``lengths`` ``[B]`` long, on an axis of
    ``sides`` ``[B]`` places.
    """
    room = sides - lengths + 1
    start = (spots * room[:, None, None]).long()[..., None]
    at = torch.arange(longest, device=spots.device)
    return (at >= start) & (at < start + lengths[:, None, None, None])
