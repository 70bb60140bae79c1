"""Irregular mask: free-form strokes of a brush (Xiao et al. 2018; drawn as in Yu et al. 2018, arXiv:1806.03589)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.masks.block import extent
from unmask.masks.random import lowest
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Ratio
from unmask.structures import Grid
from unmask.support.checks import at_least, inside


class IrregularMask(MaskSampler):
    """Hides what a brush paints over: strokes of several straight parts with round ends.

    A stroke begins anywhere, heads anywhere, and turns by at most ``turn`` from part to part; a part's length and the
    stroke's width are drawn evenly. The brush is lifted when the number to hide is reached, in the middle of a part if
    need be. Where all strokes do not cover enough, single places make up the count.

    Args:
        ratio: share to hide, in (0, 1), a schedule or a spread of it. Holes of test sets: 0.01 to 0.6 (Liu et al. 2018,
            arXiv:1804.07723, section 4.1, from memory).
        width: least and greatest width of a stroke, as shares of the shorter side, in (0, 1]; at least one place.
        length: of a part of a stroke at most, as a share of the longer side, in (0, 1].
        turn: in degrees, in [0, 180].
        num_parts: of a stroke, at least 1.
        num_strokes: that are drawn, at least 1.

    Raises:
        ValueError: an argument outside its range, or a layout that is not a 2-D grid.
    """

    layouts = (Grid,)
    grid_sides = (2,)

    def __init__(
        self,
        ratio: Ratio = 0.3,
        width: tuple[float, float] = (0.05, 0.15),
        length: float = 0.3,
        turn: float = 60.0,
        num_parts: int = 6,
        num_strokes: int = 16,
    ) -> None:
        super().__init__(ratio)
        if not 0 < width[0] <= width[1] <= 1:
            raise ValueError(f"`width` must be (least, greatest), both in (0, 1], but is {tuple(width)}.")
        inside("(0, 1]", length=length)
        inside("[0, 180]", turn=turn)
        at_least(1, num_parts=num_parts, num_strokes=num_strokes)
        self.width, self.length, self.turn = tuple(width), length, turn
        self.num_parts, self.num_strokes = num_parts, num_strokes

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        valid = among.valid
        assert isinstance(among.layout, Grid)
        rows, columns = among.layout.shape
        first, sides = (one.float() for one in extent(valid.view(-1, rows, columns)))  # [2, B] each
        of_strokes = draws.uniform(self.num_strokes, 4)  # [B, S, 4]: start, heading, width
        of_parts = draws.uniform(self.num_strokes, self.num_parts, 2)  # [B, S, P, 2]: turn, length

        # The corners of each stroke.
        turns = math.radians(self.turn) * (2 * of_parts[..., 0] - 1)
        heading = 2 * math.pi * of_strokes[..., 2:3] + turns.cumsum(-1)  # [B, S, P]
        length = of_parts[..., 1] * (self.length * sides.amax(0))[:, None, None]
        steps = torch.stack([heading.sin(), heading.cos()], -1) * length[..., None]  # [B, S, P, 2]
        start = first.T[:, None] + of_strokes[..., :2] * sides.T[:, None]  # [B, S, 2]
        corners = torch.cat([start[:, :, None], start[:, :, None] + steps.cumsum(2)], 2)  # [B, S, P + 1, 2]
        low, high = self.width
        width = (low + (high - low) * of_strokes[..., 3]) * sides.amin(0)[:, None]
        radius = width.clamp(min=1) / 2  # [B, S]

        # When the brush comes to each place.
        at = torch.stack(
            torch.meshgrid(*(torch.arange(side, device=valid.device) + 0.5 for side in (rows, columns)), indexing="ij"),
            -1,
        ).view(1, -1, 1, 2)  # [1, N, 1, 2]: the middle of each place
        never = self.num_strokes * self.num_parts
        when = never + draws.uniform(valid.shape[1])  # [B, N]
        for stroke in range(self.num_strokes):
            begin, step = corners[:, None, stroke, :-1], steps[:, None, stroke]  # [B, 1, P, 2]
            along = ((at - begin) * step).sum(-1) / step.square().sum(-1).clamp(min=1e-9)
            along = along.clamp(0, 1)  # [B, N, P]
            distance = (at - begin - along[..., None] * step).norm(dim=-1)
            part = torch.arange(self.num_parts, device=valid.device)
            time = stroke * self.num_parts + part + 0.999 * along
            covered = distance <= radius[:, None, stroke, None]
            when = when.minimum(time.masked_fill(~covered, float("inf")).amin(-1))
        return lowest(when, among.counts, valid)
