"""The k nearest neighbours of query points, exactly."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from unmask.api import at_least
from unmask_pointcloud.ops import gpu, keys, tree
from unmask_pointcloud.ops.distances import checked


class Neighbours(NamedTuple):
    """Neighbours of each query.

    Args:
        indices: int64 ``[B, Q, k]``, places in the cloud.
        squared_distance: float32 ``[B, Q, k]``, without gradient.
        valid: bool ``[B, Q, k]``, False where there were fewer than k; there the first neighbour stands again.
    """

    indices: Tensor
    squared_distance: Tensor
    valid: Tensor


def knn(queries: Tensor, points: Tensor, k: int, valid: Tensor | None = None) -> Neighbours:
    """The k points nearest to each query, nearest first; of equally near ones the lowest index first.

    Distances are compared as float32 numbers (computed in float64 where the points are). A point that is a query
    as well is its own neighbour. On CPU, large clouds are searched with SciPy's KD-tree, where that is faster.

    Args:
        queries: ``[B, Q, 3]``, all finite.
        points: ``[B, N, 3]``, in the same unit.
        k: neighbours per query, at least 1.
        valid: ``[B, N]`` bool, False at padding, which is nobody's neighbour; None: all points are real.

    Returns:
        `Neighbours`. Beside it, at most 160 MiB, 100 bytes a point and 100 bytes a neighbour are held.

    Raises:
        ValueError: k below 1, batches of different sizes, or clouds that `distances.checked` refuses.
    """
    at_least(1, k=k)
    points, queries = checked(points, valid), checked(queries, name="queries")
    if len(queries) != len(points):
        raise ValueError(f"`queries` must be of {len(points)} clouds, as the points are, but is of {len(queries)}.")
    distance, index = keys.unpacked(nearest(queries, points, min(k, points.shape[1]), valid))
    if valid is None and points.shape[1] >= k:
        return Neighbours(index, distance, torch.ones_like(index, dtype=torch.bool))
    counts = torch.full_like(index[:, 0, 0], points.shape[1]) if valid is None else valid.sum(-1)
    places = torch.arange(k, device=index.device)
    found = (places < counts[:, None])[:, None].repeat(1, index.shape[1], 1)  # [B, Q, k]
    take = torch.where(found, places, 0)
    return Neighbours(index.gather(2, take), distance.gather(2, take), found)


def nearest(queries: Tensor, points: Tensor, k: int, valid: Tensor | None = None) -> Tensor:
    """The k smallest `keys` of each query by the quickest way there is: int64 ``[B, Q, k]``; checks nothing."""
    if gpu.usable(points):
        return gpu.nearest_keys(queries, points, k, valid)
    if points.device.type == "cpu" and tree.pays(queries, points, k):
        return tree.nearest_keys(queries, points, k, valid)
    return keys.nearest_keys(queries, points, k, valid)
