"""Sector mask: patches in slices of angle about an upright axis (R-MAE, Tayebati et al. 2024, arXiv:2406.07833)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from unmask import Candidates, Draws, MaskSampler, Ratio
from unmask.api import at_least
from unmask.masks import lowest
from unmask_pointcloud.layout import Points

AXES = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}
"""The two coordinates that an angle about each axis is measured in."""


class SectorMask(MaskSampler):
    """Cuts the circle into equal sectors, turned by a random angle, and hides the patches of sectors drawn at random.

    Sectors are hidden whole, one after the other, until the share is reached; of the last one, patches are hidden from
    one edge on, so that every cloud hides exactly as many as other masks do.

    Args:
        ratio: share of a cloud's patches to hide, in (0, 1), a schedule or a spread of it. R-MAE hides 0.8 of
            the sectors.
        num_sectors: at least 2.
        axis: which way is up, and the axis of the sectors.
        about: the axis goes through the ``origin`` (the sensor, in a sweep of LiDAR) or through the mean of the
            cloud's ``centres``.

    Differs from the paper in that it hides a share of patches, not of sectors, and in that the paper's second
    stage, which hides near and far voxels of a sector at different rates, is not done.

    Raises:
        ValueError: an argument outside its range, or tokens without centres.
    """

    layouts = (Points,)

    def __init__(
        self,
        ratio: Ratio = 0.8,
        num_sectors: int = 16,
        axis: Literal["x", "y", "z"] = "z",
        about: Literal["origin", "centres"] = "origin",
    ) -> None:
        super().__init__(ratio)
        at_least(2, num_sectors=num_sectors)
        for name, value, known in (("axis", axis, tuple(AXES)), ("about", about, ("origin", "centres"))):
            if value not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(known)}, but is {value!r}.")
        self.num_sectors = num_sectors
        self.axis = axis
        self.about = about

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        valid, layout = among.valid, among.layout
        assert isinstance(layout, Points)  # `check` has seen to it
        centres = layout.dense(valid).float()[..., list(AXES[self.axis])]  # [B, N, 2]
        if self.about == "centres":
            centres = centres - centres.sum(1, keepdim=True) / valid.sum(1)[:, None, None]
        draw = draws.uniform(self.num_sectors + 1)
        angle = torch.atan2(centres[..., 1], centres[..., 0]) / (2 * math.pi) + draw[:, :1]  # [B, N], in turns
        place = angle.frac().add(1).frac() * self.num_sectors
        sector = place.long().clamp(max=self.num_sectors - 1)
        turn = draw[:, 1:].argsort(1).argsort(1)  # [B, S], when each sector's turn comes
        return lowest(turn.gather(1, sector) + (place - sector), among.counts, valid)
