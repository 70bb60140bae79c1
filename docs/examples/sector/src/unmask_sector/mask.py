"""Sector mask: an angle of a grid, seen from its middle, as a radar's or a fundus camera's blind sector."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from unmask import Candidates, Draws, Grid, Layout, MaskSampler, Ratio
from unmask.masks import lowest


class SectorMask(MaskSampler):
    """Hides the places whose direction from the middle is nearest to one drawn evenly: a slice of a round cake.

    Args:
        ratio: share of the places to hide, in (0, 1), a schedule or a spread of it; 0.25 is a right angle.

    Raises:
        ValueError: a ratio outside (0, 1), padded samples, or tokens that do not lie on a 2-D grid.
    """

    layouts = (Grid,)
    grid_sides = (2,)

    def __init__(self, ratio: Ratio = 0.25) -> None:
        super().__init__(ratio)

    def check(self, layout: Layout, num_tokens: int, valid: Tensor | None) -> None:
        super().check(layout, num_tokens, valid)
        if valid is not None:
            raise ValueError("SectorMask works on samples of one size, but these are padded.")

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        assert isinstance(among.layout, Grid)
        rows, columns = (torch.linspace(-1, 1, side, device=draws.device) for side in among.layout.shape)
        angle = torch.atan2(rows[:, None], columns).flatten()  # [N], in [-pi, pi]
        middle = 2 * math.pi * draws.uniform(1)
        away = 1 - torch.cos(angle - middle)  # [B, N], 0 in the direction of the sector's middle
        return lowest(away, among.counts, among.valid)
