"""Link prediction on held-out edges from frozen codes: AUC and average precision.

The split is the field's (Kipf & Welling 2016, VGAE): 5% of the edges choose the strength, 10% are scored, with as many
non-edges each; the encoder sees the remaining 85% only, in pretraining as well as here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from threadpoolctl import threadpool_limits
from torch import Tensor

from unmask import seeds
from unmask.api import STRENGTHS


class Links(NamedTuple):
    """Pairs of nodes ``[2, L]`` and whether each is an edge ``[L]`` bool."""

    ends: Tensor
    edge: Tensor


class LinkSplit(NamedTuple):
    """Which edges may be seen ``[E]`` bool, and pairs to fit on, to choose the strength by, and to score on."""

    seen: Tensor
    train: Links
    val: Links
    test: Links


class LinkScores(NamedTuple):
    """AUC and average precision on the pairs to score on, both in [0, 1], 0.5 being chance."""

    auc: float
    ap: float


def split_links(
    edges: Tensor, num_nodes: int, val_ratio: float = 0.05, test_ratio: float = 0.1, seed: int = 0
) -> LinkSplit:
    """Takes pairs of connected nodes out of a graph, both directions, and draws as many that are not connected.

    Self-loops stay; duplicate edges and the two directions of an edge are one pair.

    Args:
        edges: ``[2, E]`` int64.
        num_nodes: T.
        val_ratio: share of the pairs to choose the strength by, in (0, 1).
        test_ratio: share to score on, in (0, 1); the two sum to less than 1.
        seed: of both draws.

    Raises:
        ValueError: a ratio outside its range, too few edges for one pair each, or too few pairs that are no edges.
    """
    for name, ratio in (("val_ratio", val_ratio), ("test_ratio", test_ratio)):
        if not 0 < ratio < 1:
            raise ValueError(f"`{name}` must be in (0, 1), but is {ratio}.")
    if val_ratio + test_ratio >= 1:
        raise ValueError(f"`val_ratio` and `test_ratio` must sum to less than 1, but sum to {val_ratio + test_ratio}.")
    low, high = edges.min(0).values, edges.max(0).values
    keys = low * num_nodes + high  # one number per unordered pair
    pairs = keys[low != high].unique()  # ascending
    num_val, num_test = int(val_ratio * len(pairs)), int(test_ratio * len(pairs))
    if min(num_val, num_test) < 1:
        raise ValueError(
            f"There must be edges enough to hold out {val_ratio:g} and {test_ratio:g} of them, "
            f"but there are {len(pairs)}."
        )
    free = num_nodes * (num_nodes - 1) // 2 - len(pairs)
    if free < len(pairs):
        raise ValueError(f"There must be {len(pairs)} pairs of nodes that are no edges, but there are {free}.")

    generator = seeds.generator("cpu", seed, "links")
    order = pairs[torch.randperm(len(pairs), generator=generator)]
    others = _non_edges(pairs, len(pairs), num_nodes, generator)
    cuts = [num_val, num_test, len(pairs) - num_val - num_test]
    val, test, train = (
        Links(torch.cat([_ends(yes, num_nodes), _ends(no, num_nodes)], 1), torch.arange(2 * len(yes)) < len(yes))
        for yes, no in zip(order.split(cuts), others.split(cuts), strict=True)
    )
    return LinkSplit(~torch.isin(keys, order[: num_val + num_test]), train, val, test)


def dot_scores(codes: Tensor, test: Links) -> LinkScores:
    """How well ``codes[i] . codes[j]`` tells edges from non-edges; nothing is fitted.

    Args:
        codes: ``[T, D]``, of the graph without the pairs of ``test``.
        test: pairs to score.

    Raises:
        ValueError: codes that are not finite.
    """
    return _scores(test, _products(codes, test).sum(1))


def fitted_scores(codes: Tensor, split: LinkSplit) -> LinkScores:
    """Logistic regression on ``codes[i] * codes[j]`` (node2vec's Hadamard operator, Grover & Leskovec 2016).

    Products are divided by one number, their root mean square; the strength with the best AUC on ``split.val`` counts.

    Args:
        codes: ``[T, D]``, of the graph that has the edges ``split.seen`` alone.
        split: pairs to fit on, to choose by and to score.

    Raises:
        ValueError: codes that are not finite.
    """
    train, val, test = (_products(codes, links) for links in split[1:])
    scale = max(float(np.sqrt(np.mean(train**2))), 1e-12)
    best, chosen = -1.0, LinkScores(0.5, 0.5)
    for strength in STRENGTHS:
        with threadpool_limits(1, "blas"):  # threads wait for each other longer than they work
            machine = LogisticRegression(C=strength, max_iter=1000).fit(train / scale, split.train.edge.numpy())
        found = _scores(split.val, machine.decision_function(val / scale)).auc
        if found > best:
            best, chosen = found, _scores(split.test, machine.decision_function(test / scale))
    return chosen


def _ends(keys: Tensor, num_nodes: int) -> Tensor:
    return torch.stack([keys // num_nodes, keys % num_nodes])


def _non_edges(pairs: Tensor, count: int, num_nodes: int, generator: torch.Generator) -> Tensor:
    """``count`` different unordered pairs that are not in ``pairs``, each equally likely, in random order."""
    found = pairs[:0]
    while len(found) < count:
        ends = torch.randint(num_nodes, (2, 2 * count), generator=generator).sort(0).values
        keys = (ends[0] * num_nodes + ends[1])[ends[0] != ends[1]]
        found = torch.cat([found, keys[~torch.isin(keys, pairs)]]).unique()
    return found[torch.randperm(len(found), generator=generator)[:count]]


def _products(codes: Tensor, links: Links) -> np.ndarray:
    if not bool(codes.isfinite().all()):
        raise ValueError("The codes must be finite, but hold NaN or infinity.")
    return (codes[links.ends[0]] * codes[links.ends[1]]).double().numpy()


def _scores(links: Links, values: np.ndarray) -> LinkScores:
    edge = links.edge.numpy()
    return LinkScores(float(roc_auc_score(edge, values)), float(average_precision_score(edge, values)))
