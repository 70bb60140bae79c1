"""Graph classification by an RBF machine on pooled frozen codes: the protocol of GraphMAE's table 2.

C is one of 0.001 to 10, chosen within each of ten stratified folds by five inner ones; codes are not scaled.
The folds are shuffled by seed 0, so they are the same in all runs and all papers that use the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from unmask import Embedder
from unmask.api import Results, Watch, evaluating, nearest, probe_columns, quoted
from unmask_graph.evaluate import POOLS

Rows = tuple[np.ndarray, np.ndarray]
"""Vectors ``[B, D]`` and class ids ``[B]`` of graphs."""


def svm_probe(
    columns: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    num_folds: int = 10,
    watch: Watch = lambda what, done, total: None,
) -> Results:
    """Accuracy in each fold, by column; `Results.rows` has the one row.

    Args:
        columns: a vector per graph ``[B, D]``, the column to be compared with the others last.
        labels: ``[B]`` class ids.
        num_folds: at least 2; the protocol's are 10.
        watch: see `unmask.tools.probe.columns.Watch`.

    Raises:
        ValueError: as `unmask.tools.probe.columns.probe_columns`, such as fewer graphs of a class than folds.
    """
    pairs = {name: (vectors, vectors[:0]) for name, vectors in columns.items()}
    return probe_columns(pairs, labels, labels[:0], probes=("rbf-svm",), num_folds=num_folds, watch=watch)


@torch.no_grad()
def graph_vectors(
    embedder: Embedder,
    loader: Iterable[Any],
    pool: str = "mean",
    device: torch.device | str = "cpu",
) -> Rows:
    """One vector per graph: its nodes' codes pooled, with nothing hidden.

    Args:
        embedder: used in evaluation mode. Its tokenizer makes nodes of a batch, packed; an encoder that is a
            `RawEncoder` pools the nodes' own values.
        loader: batches with ``label`` ``[B]``.
        pool: ``sum``, ``mean`` or ``max``.
        device: where to compute.

    Raises:
        ValueError: an unknown pooling, no batches, labels that are not one class id per graph, or a graph
            without nodes.
    """
    vectors, labels = [], []
    with evaluating(embedder.to(device)):
        for batch in loader:
            batch = move_data_to_device(batch, torch.device(device))
            tokens = embedder.tokenizer(batch)
            label = batch.get("label")
            if label is None or label.shape != (tokens.num_samples,) or label.is_floating_point():
                raise ValueError("`label` must be one class id per graph in every batch, but is not.")
            if tokens.offsets is None:
                raise ValueError("The tokenizer must make packed tokens, but made dense ones.")
            codes = embedder.coded(tokens).values  # [T, D]
            vectors.append(pooled(codes, tokens.offsets, pool).float().cpu())
            labels.append(label.long().cpu())
    if not vectors:
        raise ValueError("`loader` must have at least one batch, but has none.")
    return torch.cat(vectors).numpy(), torch.cat(labels).numpy()


def pooled(codes: Tensor, offsets: Tensor, how: str) -> Tensor:
    """``[B, D]`` of packed codes ``[T, D]``; graph i owns rows ``offsets[i]`` to ``offsets[i + 1]``.

    Raises:
        ValueError: another ``how`` than ``sum``, ``mean`` or ``max``, or a graph without nodes.
    """
    if how not in POOLS:
        near = quoted(nearest(how, POOLS) or POOLS)
        raise ValueError(f"`pool` must be one of {quoted(POOLS)}, but is `{how}`; nearest: {near}.")
    lengths = offsets.diff()
    if bool((lengths < 1).any()):
        raise ValueError("A graph must have at least 1 node to be pooled, but one has none.")
    return torch.segment_reduce(codes, how, lengths=lengths)
