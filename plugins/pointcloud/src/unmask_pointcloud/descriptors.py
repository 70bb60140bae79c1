"""Hand-made descriptors of a cloud: the raw column of a probe, which a trained encoder must beat.

Distances, extents and local flatness are what classic shape retrieval uses (shape distributions D1 and D2, Osada et
al. 2002; eigenvalue features, Weinmann et al. 2015).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask import Tokens
from unmask.api import real_tokens
from unmask_pointcloud.ops import local_pca

NUM_QUANTILES = 16
"""Numbers that a distribution is told by, from its least to its greatest value."""


def descriptors(tokens: Tokens) -> Tensor:
    """One vector per cloud ``[B, 7 * 16 + 3 + 3 + 2 C]``, from patch centres, which cover a cloud evenly.

    In this order: quantiles of the distances of centres to their mean (D1), of the distances of all pairs of
    centres (D2), of each of the three coordinates, and of the patches' linearity and curvature; the standard
    deviations along the cloud's principal axes, the mean of the centres; of every channel beside the
    coordinates mean and standard deviation.

    Args:
        tokens: values ``[B, G, k, 3 + C]`` and positions ``[B, G, 3]``.
    """
    assert tokens.positions is not None
    real = real_tokens(tokens)  # [B, G]
    count = real.sum(1, keepdim=True)  # [B, 1]
    centres = tokens.positions.float()
    mean = centres.masked_fill(~real[..., None], 0).sum(1) / count  # [B, 3]

    # How far centres are from the middle and from each other, and where.
    radius = torch.linalg.vector_norm(centres - mean[:, None], dim=-1)  # [B, G]
    pair = torch.cdist(centres, centres)  # [B, G, G]
    pairs = (real[:, :, None] & real[:, None]).triu(1) | (count < 2)[..., None]  # a single point's: its own
    axes = local_pca(centres, real).eigenvalues.sqrt()  # [B, 3]

    # Whether surfaces are thin, flat or round.
    small, middle, large = local_pca(tokens.values[..., :3].float()).eigenvalues.unbind(-1)  # [B, G]
    tiny = torch.finfo(large.dtype).tiny
    linearity = (large - middle) / large.clamp(min=tiny)
    curvature = small / (small + middle + large).clamp(min=tiny)

    channels = tokens.values[..., 3:].float().masked_fill(~real[..., None, None], 0)  # [B, G, k, C]
    size = count * channels.shape[2]
    average = channels.sum((1, 2)) / size
    variance = channels.square().sum((1, 2)) / size - average.square()

    told = [(radius, real), (pair.flatten(1), pairs.flatten(1))]
    told += [(each, real) for each in (*centres.unbind(-1), linearity, curvature)]
    quantiles = [_quantiles(values, chosen) for values, chosen in told]
    return torch.cat([*quantiles, axes, mean, average, variance.clamp(min=0).sqrt()], dim=1)


def _quantiles(values: Tensor, chosen: Tensor) -> Tensor:
    """Evenly spaced quantiles ``[B, 16]`` of the chosen values of each row ``[B, n]``."""
    at = torch.linspace(0, 1, NUM_QUANTILES, device=values.device)
    return values.masked_fill(~chosen, torch.nan).nanquantile(at, dim=1).T
