"""Farthest-point sampling (Eldar et al. 1997; in networks PointNet++, Qi et al. 2017), batched.

Each centre is the point farthest from all centres before it: ``argmax_n min_s |p_n - c_s|^2``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unmask.api import at_least
from unmask_pointcloud.ops import gpu
from unmask_pointcloud.ops.distances import checked

CACHED = 1 << 14
"""Points handled at a time on CPU, so that what a step reads again stays in the processor's cache."""


def farthest_point_sampling(
    points: Tensor, num_centres: int, valid: Tensor | None = None, start: Tensor | None = None
) -> Tensor:
    """Indices of centres that cover each cloud evenly.

    Of equally far points the one of the lowest index is taken. A cloud of fewer distinct places than ``num_centres``
    repeats its first real point from there on, so with no duplicates exactly the first ``min(num_centres, points)``
    centres are distinct.

    Args:
        points: ``[B, N, 3]``, in any unit.
        num_centres: S, at least 1.
        valid: ``[B, N]`` bool, False at padding, which is never chosen; None: all points are real.
        start: int64 ``[B]``, the first centre of each cloud; None: its first real point, as in PointNet++.

    Returns:
        int64 ``[B, S]``, in the order of choice. Beside it about 40 bytes a point are held.

    Raises:
        ValueError: a count below 1, a ``start`` that is no real point, or clouds that `checked` refuses.
    """
    at_least(1, num_centres=num_centres)
    points = checked(points, valid)
    start = _start(points, valid, start)
    if gpu.usable(points):
        return gpu.farthest(points, num_centres, valid, start)
    if points.device.type == "cpu":
        return _on_cpu(points, num_centres, valid, start)
    return _anywhere(points, num_centres, valid, start)


def _start(points: Tensor, valid: Tensor | None, start: Tensor | None) -> Tensor:
    """The first centre of each cloud ``[B]``."""
    num_clouds, num_points, _ = points.shape
    if start is None:
        if valid is None:
            return torch.zeros(num_clouds, dtype=torch.int64, device=points.device)
        return valid.to(torch.uint8).argmax(-1)
    if start.shape != (num_clouds,) or start.dtype != torch.int64:
        raise ValueError(f"`start` must be int64 [{num_clouds}], but is {start.dtype} {list(start.shape)}.")
    inside = (start >= 0) & (start < num_points)
    if valid is not None:
        inside &= valid.gather(1, start.clamp(0, num_points - 1)[:, None])[:, 0]
    if not bool(inside.all()):
        raise ValueError(f"`start` must name a real point of each cloud, but has {int(start[~inside][0])}.")
    return start


def _on_cpu(points: Tensor, num_centres: int, valid: Tensor | None, start: Tensor) -> Tensor:
    """In NumPy, whose operations start quicker than torch's; a few clouds at a time, coordinates apart."""
    chosen = torch.empty(len(points), num_centres, dtype=torch.int64)
    together = max(CACHED // points.shape[1], 1)
    for first in range(0, len(points), together):
        few = slice(first, first + together)
        clouds = np.ascontiguousarray(points[few].numpy().transpose(2, 0, 1))  # [3, b, N]
        nearest = np.full(clouds.shape[1:], np.inf, clouds.dtype)  # [b, N], to the centres so far
        if valid is not None:
            padding = ~valid[few].numpy()
            clouds[:, padding] = 0
            nearest[padding] = -1
        squares = np.empty_like(clouds)
        x, y, z = squares
        rows = np.arange(len(nearest))
        centre, out = start[few].numpy(), chosen[few].numpy()
        for place in range(num_centres):
            out[:, place] = centre
            np.subtract(clouds, clouds[:, rows, centre, None], out=squares)
            np.multiply(squares, squares, out=squares)
            np.add(np.add(x, y, out=x), z, out=x)
            np.minimum(nearest, x, out=nearest)
            centre = nearest.argmax(1)  # the first of equals
    return chosen


def _anywhere(points: Tensor, num_centres: int, valid: Tensor | None, start: Tensor) -> Tensor:
    """The same in torch, for devices that Triton does not serve."""
    if valid is not None:
        points = points.masked_fill(~valid[..., None], 0)
    clouds = points.permute(2, 0, 1).contiguous()  # [3, B, N]
    nearest = torch.full_like(clouds[0], torch.inf)  # [B, N]
    if valid is not None:
        nearest.masked_fill_(~valid, -1)
    chosen = torch.empty(num_centres, len(points), dtype=torch.int64, device=points.device)
    squares = torch.empty_like(clouds)
    x, y, z = squares
    centre = start
    for place in range(num_centres):
        chosen[place] = centre
        torch.sub(clouds, clouds.gather(2, centre.expand(3, -1)[..., None]), out=squares)
        squares.mul_(squares)
        torch.minimum(nearest, x.add_(y).add_(z), out=nearest)
        centre = nearest.argmax(1)  # the first of equals
    return chosen.T.contiguous()
