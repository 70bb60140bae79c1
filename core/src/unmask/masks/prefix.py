"""Prefix mask: what comes first is shown, what follows is hidden, as in autoregression (Radford et al. 2018)."""

from __future__ import annotations

from torch import Tensor

from unmask.draws import Draws
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Ratio, Uniform
from unmask.structures import Grid, Sequence


class PrefixMask(MaskSampler):
    """Hides the end of each sample, in the order of its tokens: of a grid, row by row.

    Averaged over where the end begins, a model that is asked for the ``first`` hidden place learns what comes next, as
    one with causal attention does at every place at once.

    Args:
        ratio: share of a sample that is hidden, in (0, 1), a schedule or a spread of it; by default any share, so that
            a single token is shown twice as often as any other number.

    Raises:
        ValueError: as `MaskSampler`.
    """

    layouts = (Sequence, Grid)
    grid_sides = (1, 2, 3)

    def __init__(self, ratio: Ratio = Uniform(0.0, 1.0)) -> None:
        super().__init__(ratio)

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        place = among.valid.cumsum(1) - 1  # [B, N], among real tokens
        return among.valid & (place >= among.valid.sum(1, keepdim=True) - among.counts[:, None])
