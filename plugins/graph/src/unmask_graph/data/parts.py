"""Cutting parts out of a graph: some nodes, with all edges among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import torch

from unmask.data import Sample
from unmask_graph.data.batches import hide_labels

NUM_AT_ONCE = 4_000_000
"""Neighbours that are looked at in one go, which bounds memory around nodes of very many."""


class Parts(NamedTuple):
    """A graph from which parts are cut.

    Args:
        graph: ``x``, ``edges``, ...
        num_nodes: N.
        outward: ``[N, N]``, row: source; its values are numbers of edges.
        around: the same in both directions, which tells neighbours.
    """

    graph: Sample
    num_nodes: int
    outward: scipy.sparse.csr_matrix
    around: scipy.sparse.csr_matrix

    @classmethod
    def of(cls, graph: Sample) -> Parts:
        num_nodes, edges = len(graph["x"]), graph["edges"].numpy()
        # Ordered by source then target, so rows are found as they are; no value is added up.
        starts = np.searchsorted(edges[0], np.arange(num_nodes + 1))
        shape = (num_nodes, num_nodes)
        outward = scipy.sparse.csr_matrix((np.arange(edges.shape[1]), edges[1], starts), shape=shape)
        ones = scipy.sparse.csr_matrix((np.ones(edges.shape[1], dtype=np.int8), edges[1], starts), shape=shape)
        around = ones.maximum(ones.T).tocsr()
        around.sort_indices()
        return cls(graph, num_nodes, outward, around)

    def batch(
        self, owner: np.ndarray, node: np.ndarray, samples: Sequence[Sample], known: np.ndarray | None,
        between: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Nodes of some samples with all edges among those of one sample, or of all.

        Args:
            owner: ``[T]``, which sample a node belongs to, never falling.
            node: ``[T]``, numbers in the whole graph.
            samples: with ``index``.
            known: bool ``[T]``, whose labels are shown; None: all.
            between: whether edges between samples are kept; no node may then be in two of them.
        """
        group = np.zeros_like(owner) if between else owner
        keys = group * self.num_nodes + node
        order = np.argsort(keys)
        found = [self._edges(rows, group, node, keys[order], order) for rows in self._runs(node)]
        source, target, number = (torch.from_numpy(np.concatenate(part)) for part in zip(*found, strict=True))
        chosen = torch.from_numpy(node)
        lengths = np.bincount(owner, minlength=len(samples))
        batch: dict[str, Any] = {
            "x": self.graph["x"][chosen],
            "edges": torch.stack([source, target]),
            "offsets": torch.nn.functional.pad(torch.from_numpy(lengths).cumsum(0), (1, 0)),
            "node": chosen,
        }
        if "edge_values" in self.graph:
            batch["edge_values"] = self.graph["edge_values"][number]
        if "label" in self.graph:
            label = self.graph["label"][chosen]
            batch["label"] = label if known is None else hide_labels(label, torch.from_numpy(known))
        if "name" in samples[0]:
            batch["name"] = [sample["name"] for sample in samples]
        if "index" in samples[0]:
            batch["index"] = torch.tensor([sample["index"] for sample in samples])
        return batch

    def _runs(self, node: np.ndarray) -> list[np.ndarray]:
        """Rows, so many at a time that they have few enough neighbours."""
        degree = np.diff(self.outward.indptr)[node].astype(np.int64)
        return np.split(np.arange(len(node)), np.flatnonzero(np.diff((degree.cumsum() - degree) // NUM_AT_ONCE)) + 1)

    def _edges(
        self, rows: np.ndarray, group: np.ndarray, node: np.ndarray, keys: np.ndarray, order: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of sources and targets, and numbers of the edges that leave ``rows`` and end in their group."""
        first = self.outward.indptr[node[rows]].astype(np.int64)
        count = self.outward.indptr[node[rows] + 1] - first
        source = np.repeat(rows, count)
        place = np.repeat(first - (np.cumsum(count) - count), count) + np.arange(len(source))
        wanted = group[source] * self.num_nodes + self.outward.indices[place]
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        kept = keys[at] == wanted
        return source[kept], order[at[kept]], self.outward.data[place[kept]].astype(np.int64)
