"""Tube mask: the same random places at every depth (VideoMAE, Tong et al. 2022, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.masks.random import lowest
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Ratio
from unmask.structures import Grid, Layout


class TubeMask(MaskSampler):
    """Hides random places of the plane (rows, columns), all the way through the depth of a 3-D grid.

    What hardly changes along the depth could otherwise be copied from one depth to the next. Of P
    places of the plane it hides ``P - floor(P * (1 - ratio))``.

    Args:
        ratio: share to hide, in (0, 1), a schedule or a spread of it. VideoMAE's default (table 1 b).

    Raises:
        ValueError: ``ratio`` outside its range, a layout that is no 3-D grid, or padding that leaves
            only a part of a plane (samples may be less deep than others, not smaller).
    """

    layouts = (Grid,)
    grid_sides = (3,)

    def __init__(self, ratio: Ratio = 0.9) -> None:
        super().__init__(ratio)

    def check(self, layout: Layout, num_tokens: int, valid: Tensor | None) -> None:
        super().check(layout, num_tokens, valid)
        if valid is not None:
            planes = valid.unflatten(1, (-1, _plane(layout)))  # [B, depth, P]
            if not torch.equal(planes.any(-1), planes.all(-1)):
                raise ValueError("Padding must leave out whole planes of a 3-D grid, but leaves out parts.")

    def count(self, num_tokens: int, layout: Layout, ratio: float | None) -> int:
        plane = _plane(layout)
        return super().count(plane, layout, ratio) * (num_tokens // plane)

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        planes = among.valid.unflatten(1, (-1, _plane(among.layout)))  # [B, depth, P]
        depths = planes.any(-1).sum(-1).clamp(min=1)  # [B]
        plane = lowest(draws.uniform(planes.shape[2]), among.counts // depths, planes.any(1))  # [B, P]
        return (plane[:, None] & planes).flatten(1)


def _plane(layout: Layout) -> int:
    assert isinstance(layout, Grid)  # `check` let nothing else pass
    return layout.shape[1] * layout.shape[2]
