"""Ball query (PointNet++, Qi et al. 2017, section 3.2): points within a radius of each query."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.api import at_least
from unmask_pointcloud.ops.distances import blocks, checked, planar, squared_distances
from unmask_pointcloud.ops.keys import smallest
from unmask_pointcloud.ops.knn import Neighbours


def ball_query(queries: Tensor, points: Tensor, radius: float, k: int, valid: Tensor | None = None) -> Neighbours:
    """The first k points, by index, that lie nearer to a query than ``radius``.

    Where fewer do, the first of them stands again; where none does, the cloud's first real point, and nothing of that
    query is ``valid``. This is the rule of PointNet++'s code, with ``valid`` told apart.

    Args:
        queries: ``[B, Q, 3]``, all finite.
        points: ``[B, N, 3]``, in the same unit.
        radius: greater than 0, in that unit; a point exactly at it is outside.
        k: points per query, at least 1.
        valid: ``[B, N]`` bool, False at padding, which lies in no ball; None: all points are real.

    Returns:
        `Neighbours`. Beside it at most 160 MiB and 100 bytes a neighbour are held.

    Raises:
        ValueError: a radius or k out of range, batches of different sizes, or clouds that `distances.checked` refuses.
    """
    if not 0 < radius < float("inf"):
        raise ValueError(f"`radius` must be greater than 0 and finite, but is {radius}.")
    at_least(1, k=k)
    points, queries = checked(points, valid), checked(queries, name="queries")
    if len(queries) != len(points):
        raise ValueError(f"`queries` must be of {len(points)} clouds, as the points are, but is of {len(queries)}.")

    num_points = points.shape[1]
    outside = num_points  # after all indices
    places = torch.arange(num_points, dtype=torch.int32, device=points.device)
    found = torch.full((*queries.shape[:2], k), outside, device=points.device)  # [B, Q, k]
    each = planar(points)
    for clouds, rows in blocks(queries.shape[0], queries.shape[1], num_points, points.device):
        near = squared_distances(queries[clouds, rows], each[clouds]) < radius * radius  # [b, q, N]
        if valid is not None:
            near &= valid[clouds, None]
        first = smallest(torch.where(near, places, outside), min(k, num_points))
        found[clouds, rows, : first.shape[-1]] = first.to(found.dtype)

    inside = found < outside
    first = found[..., :1]
    start = torch.zeros_like(found[:, :1, :1]) if valid is None else valid.to(torch.uint8).argmax(-1)[:, None, None]
    index = torch.where(inside, found, torch.where(first < outside, first, start))
    chosen = points.gather(1, index.flatten(1)[..., None].expand(-1, -1, 3)).view(*index.shape, 3)
    distance = squared_distances(queries[:, :, None], chosen)[:, :, 0]
    return Neighbours(index, distance.float(), inside)
