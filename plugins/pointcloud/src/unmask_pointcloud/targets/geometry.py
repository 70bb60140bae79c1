"""GeoMAE's targets: what a hidden patch's surface is like, not where its points are (Tian et al. 2023, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask import Given, Mask, Target, Tokens
from unmask.api import at_least
from unmask_pointcloud.ops import local_pca


class CentroidTarget(Target):
    """The mean of the patch's points, relative to its centre, in the data's unit: ``[B, M, 3]``. For `MSELoss`."""

    width = 3

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        return _asked(tokens, mask).mean(-2)


class OccupancyTarget(Target):
    """Which cells of a cube around the patch's centre hold points of the patch, 0 or 1: ``[B, M, cells^3]``.

    The cube is cut into ``cells`` along each axis; cell ``(x, y, z)`` stands at ``(x * cells + y) * cells + z``. A
    point on a border between two cells is in the upper one. For `OccupancyLoss`.

    Args:
        cells: along an axis, at least 2.
        size: the cube's edge in the data's unit, above 0; points outside of it are in no cell. In clouds of 1,024
            points in the unit sphere, 64 patches of 32 points reach to about 0.25 from their centres.

    Differs from the paper in the cube: there it is the voxel of a grid fixed to the world that the token stands for,
    here one around the token's centre, since patches have no voxel.

    Raises:
        ValueError: a number below its minimum.
    """

    def __init__(self, cells: int = 4, size: float = 0.5) -> None:
        super().__init__()
        at_least(2, cells=cells)
        if not 0 < size < float("inf"):
            raise ValueError(f"`size` must be above 0 and finite, but is {size}.")
        self.cells = cells
        self.size = size
        self.width = cells**3

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        points = _asked(tokens, mask).float()  # [B, M, k, 3]
        cell = ((points / self.size + 0.5) * self.cells).floor()
        inside = ((cell >= 0) & (cell < self.cells)).all(-1)  # [B, M, k]
        x, y, z = cell.clamp(0, self.cells - 1).long().unbind(-1)
        number = (x * self.cells + y) * self.cells + z
        empty = points.new_zeros(*number.shape[:2], self.width)
        return empty.scatter_reduce(2, number, inside.float(), "amax")


class NormalTarget(Target):
    """The direction in which the patch's points spread least, of length 1: ``[B, M, 3]``. For `NormalLoss`.

    Its side is not known, see `unmask_pointcloud.ops.LocalPCA`.
    """

    width = 3

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        return local_pca(_asked(tokens, mask)).normal


class CurvatureTarget(Target):
    """The shares of the points' variance along its three axes, ascending, which sum to 1: ``[B, M, 3]``. For `MSELoss`.

    A plane has (0, a, 1 - a), a line (0, 0, 1); points in one place have zeros.
    """

    width = 3

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        values = local_pca(_asked(tokens, mask)).eigenvalues
        total = values.sum(-1, keepdim=True)
        return torch.where(total > 0, values / total, 0)


def _asked(tokens: Tokens, mask: Mask) -> Tensor:
    """Points of the asked patches ``[B, M, k, 3]``."""
    return mask.asked.gather(tokens.values[..., :3])
