"""Streaming k-means: clusters of frames that are never held all at once (Sculley 2010), by scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

CHUNK = 10_000
"""Frames of one step: HuBERT's batch (Hsu et al. 2021, section IV.B)."""


def fit_codebooks(
    batches: Iterable[Tensor],
    num_clusters: Sequence[int],
    num_frames: int,
    seed: int,
    tell: Callable[[int], None] = lambda done: None,
) -> list[Tensor]:
    """Centres of clusters, one codebook for each number in ``num_clusters``; they differ by their beginnings.

    Centres begin as frames of the first chunk that lie far apart (k-means++); every chunk then draws them towards the
    mean of all frames they ever were the nearest to.

    Args:
        batches: frames ``[n, F]``, ``num_frames`` of them or more.
        num_clusters: of each codebook.
        num_frames: how many frames to read, rounded up to whole chunks of 10,000; at least as many as clusters.
        seed: of the beginnings.
        tell: called with the number of frames read so far.

    Returns:
        For each codebook ``[K, F]`` float32, on the CPU.

    Raises:
        ValueError: frames that are not finite, or too few.
    """
    if num_frames < max(num_clusters):
        raise ValueError(f"`num_frames` must be at least {max(num_clusters)}, the clusters, but is {num_frames}.")
    size = min(CHUNK, num_frames)
    fits = [
        MiniBatchKMeans(
            count, random_state=(seed + number) % 2**32, init_size=size, reassignment_ratio=0, compute_labels=False
        )
        for number, count in enumerate(num_clusters)
    ]
    read = 0
    for chunk in _chunks(batches, size):
        if not np.isfinite(chunk).all():
            raise ValueError("Features of frames must be finite to be clustered, but one is NaN or infinite.")
        for fit in fits:
            fit.partial_fit(chunk)
        tell(read := read + len(chunk))
        if read >= num_frames:
            return [torch.from_numpy(fit.cluster_centers_).float() for fit in fits]
    raise ValueError(f"`num_frames` must be at most {read}, whole chunks of {size} frames, but is {num_frames}.")


def nearest_centres(features: Tensor, centres: Tensor, counts: Tensor) -> Tensor:
    """Which centre each frame is nearest to, in each codebook.

    Args:
        features: ``[..., F]``.
        centres: ``[C, K, F]``, those of smaller codebooks filled up.
        counts: ``[C]`` int64, how many of them are real.

    Returns:
        Ids ``[..., C]`` int64.
    """
    with torch.autocast(features.device.type, enabled=False):
        # |x - c|^2 without |x|^2, which is the same for all
        features, centres = features.float(), centres.float()
        halves = centres.square().sum(-1) / 2  # [C, K]
        real = torch.arange(centres.shape[1], device=centres.device) < counts[:, None]
        scores = torch.einsum("...f,ckf->...ck", features, centres) - halves.masked_fill(~real, float("inf"))
    return scores.argmax(-1)


def _chunks(batches: Iterable[Tensor], size: int) -> Iterator[np.ndarray]:
    """Batches one after another, in pieces of ``size`` rows."""
    held: list[np.ndarray] = []
    for batch in batches:
        held.append(batch.float().cpu().numpy())
        while sum(map(len, held)) >= size:
            rows = np.concatenate(held)
            yield rows[:size]
            held = [rows[size:]]
