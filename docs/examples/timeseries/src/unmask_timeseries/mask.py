"""Patch mask: as many patches of each channel, drawn anew for each (Nie et al. 2022, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from unmask import Candidates, Draws, Grid, Layout, MaskSampler, Ratio
from unmask.masks import lowest


class ChannelMask(MaskSampler):
    """Hides the same number of places in every row of a grid, independently of each other.

    Args:
        ratio: share of a row to hide, in (0, 1), a schedule or a spread of it. The paper's (section 4.2).

    Raises:
        ValueError: a ratio outside (0, 1), padded samples, or tokens that do not lie on a 2-D grid.
    """

    layouts = (Grid,)
    grid_sides = (2,)

    def __init__(self, ratio: Ratio = 0.4) -> None:
        super().__init__(ratio)

    def check(self, layout: Layout, num_tokens: int, valid: Tensor | None) -> None:
        super().check(layout, num_tokens, valid)
        if valid is not None:
            raise ValueError("ChannelMask works on samples of one size, but these are padded.")

    def count(self, num_tokens: int, layout: Layout, ratio: float | None) -> int:
        assert isinstance(layout, Grid)
        rows, columns = layout.shape
        return rows * super().count(columns, layout, ratio)

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        assert isinstance(among.layout, Grid)
        rows, columns = among.layout.shape
        keys = draws.uniform(rows, columns).flatten(0, 1)  # [B * C, columns]
        per_row = (among.counts // rows).repeat_interleave(rows)  # [B * C]
        return lowest(keys, per_row, torch.ones_like(keys, dtype=torch.bool)).view(among.valid.shape)
