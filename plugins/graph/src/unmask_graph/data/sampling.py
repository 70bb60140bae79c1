"""Parts of a graph that is too big to be trained on whole: neighbourhoods of nodes, or clusters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse.csgraph import reverse_cuthill_mckee
from torch import Tensor
from torch.utils.data import Dataset

from unmask import seeds
from unmask.api import at_least
from unmask.data import Sample, Splits
from unmask_graph.data.parts import Parts


class Sampling(ABC):
    """Makes samples of one graph's parts. Batches are as those of many graphs, and have ``node [T]`` besides: the
    number of each row in the whole graph. Every labelled node is asked for once in a pass of the probes."""

    @abstractmethod
    def splits(self, graph: Sample, masks: dict[str, Tensor]) -> Splits:
        """Data sets of small samples that say which part is meant; `collate` makes the parts.

        Args:
            graph: ``x``, ``edges``, ..., clean.
            masks: nodes to fit probes on and to score them on; empty: no labels.
        """

    @abstractmethod
    def collate(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """The batch of some parts."""

    def augment(self, sample: Sample) -> Sample:
        """What changes from epoch to epoch; random numbers are keyed around the call."""
        return sample


class NeighborSampling(Sampling):
    """A sample is a node with some of its neighbours, some of theirs, and so on, and all edges between them.

    GraphSAGE's sampling (Hamilton et al. 2017) of nodes, and, as in GraphMAE2's local clusters (Hou et al. 2023,
    section 3.3), one graph of its own per seed: the same node may be in several samples of a batch. Neighbours are
    those in either direction. Of a node with more neighbours than asked for, one is drawn from each of as many equal
    parts of their list. Each epoch has other neighbours; validation and probes have always the same. Labels are shown
    of seeds alone.

    Args:
        num_neighbors: of each node, per hop; at least one hop, each at least 1.
        val_nodes: seeds that the validation loss is measured on, drawn evenly; at least 1.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(self, num_neighbors: Sequence[int] = (10, 10), val_nodes: int = 1000) -> None:
        if not num_neighbors or min(num_neighbors) < 1:
            raise ValueError(f"`num_neighbors` must be at least 1 for at least one hop, but is {list(num_neighbors)}.")
        at_least(1, val_nodes=val_nodes)
        self.num_neighbors = tuple(num_neighbors)
        self.val_nodes = val_nodes

    def splits(self, graph: Sample, masks: dict[str, Tensor]) -> Splits:
        self.parts = Parts.of(graph)
        joined = torch.from_numpy(np.diff(self.parts.around.indptr) > 0).nonzero()[:, 0]
        if not len(joined):
            raise ValueError("`sampling` must be left out for a graph without an edge.")
        order = torch.randperm(len(joined), generator=seeds.generator("cpu", "split"))
        val = joined[order[: self.val_nodes]].sort().values
        names = graph.get("node_names")
        # Nodes without a neighbour have a neighbourhood in which nothing can be hidden: probes alone see them.
        probes = [_Named("seed", masks[part].nonzero()[:, 0], names) for part in ("train", "test")] if masks else []
        return Splits(_Named("seed", joined, names), _Named("seed", val, names), *probes)

    def augment(self, sample: Sample) -> Sample:
        return sample | {"key": int(torch.randint(2**62, ()))}

    def collate(self, samples: Sequence[Sample]) -> dict[str, Any]:
        start = np.array([sample["seed"] for sample in samples])
        keys = np.array([sample.get("key", 0) for sample in samples], dtype=np.uint64)
        owner, node = np.arange(len(start)), start
        frontier = owner, node
        for hop, most in enumerate(self.num_neighbors):
            found = self._drawn(*frontier, keys, hop, most)
            pairs = np.unique(np.concatenate([self._pair(owner, node), self._pair(*found)]))
            new = np.setdiff1d(self._pair(*found), self._pair(owner, node))
            owner, node = np.divmod(pairs, self.parts.num_nodes)
            frontier = np.divmod(new, self.parts.num_nodes)
        return self.parts.batch(owner, node, samples, known=node == start[owner])

    def _drawn(
        self, owner: np.ndarray, node: np.ndarray, keys: np.ndarray, hop: int, most: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Owners and nodes of at most ``most`` neighbours of each node."""
        around = self.parts.around
        first, degree = around.indptr[node].astype(np.int64), np.diff(around.indptr)[node].astype(np.int64)
        count = np.minimum(degree, most)
        row = np.repeat(np.arange(len(node)), count)
        place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)  # 0, 1, ... of each row
        name = _mixed(node[row].astype(np.uint64)) + place.astype(np.uint64)
        mixed = _mixed(_mixed(keys[owner[row]] + np.uint64(hop)) + name)
        begin, end = place * degree[row] // count[row], (place + 1) * degree[row] // count[row]
        chosen = begin + (mixed % (end - begin).astype(np.uint64)).astype(np.int64)
        return owner[row], around.indices[first[row] + chosen].astype(np.int64)

    def _pair(self, owner: np.ndarray, node: np.ndarray) -> np.ndarray:
        return owner * self.parts.num_nodes + node


class ClusterSampling(Sampling):
    """A sample is a cluster of nodes; edges between the clusters of a batch are kept (Chiang et al. 2019, Cluster-GCN).

    Clusters are runs of equal length in a reverse Cuthill-McKee order, which puts neighbours near each other.
    Differs from the paper in that: METIS, which cuts fewer edges, has no package without a compiled extension.
    Each epoch puts other clusters together.

    Args:
        num_clusters: at least 2. A batch is ``batch_size`` of them.

    Raises:
        ValueError: fewer than 2; in `setup`, more than half as many as nodes.
    """

    def __init__(self, num_clusters: int = 100) -> None:
        at_least(2, num_clusters=num_clusters)
        self.num_clusters = num_clusters

    def splits(self, graph: Sample, masks: dict[str, Tensor]) -> Splits:
        self.parts = Parts.of(graph)
        num_nodes = self.parts.num_nodes
        if 2 * self.num_clusters > num_nodes:
            raise ValueError(
                f"`num_clusters` must be at most {num_nodes // 2}, half the graph's nodes, but is {self.num_clusters}."
            )
        order = reverse_cuthill_mckee(self.parts.around, symmetric_mode=True).astype(np.int64)
        self.clusters = [np.sort(run) for run in np.array_split(order, self.num_clusters)]
        every = _Named("cluster", torch.arange(self.num_clusters))
        if not masks:
            return Splits(every, every)
        cluster_of = torch.empty(num_nodes, dtype=torch.long)
        for number, nodes in enumerate(self.clusters):
            cluster_of[torch.from_numpy(nodes)] = number
        self.masks = [masks[part].numpy() for part in ("train", "test")]
        probes = [
            _Named("cluster", cluster_of[masks[part]].unique(), also={"part": i})
            for i, part in enumerate(("train", "test"))
        ]
        return Splits(every, every, *probes)

    def collate(self, samples: Sequence[Sample]) -> dict[str, Any]:
        runs = [self.clusters[sample["cluster"]] for sample in samples]
        owner = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
        node = np.concatenate(runs)
        part = samples[0].get("part")
        return self.parts.batch(owner, node, samples, None if part is None else self.masks[part][node], between=True)


class _Named(Dataset):
    """Parts by number, and by their own names where they have such."""

    def __init__(
        self, name: str, numbers: Tensor, names: Sequence[str] | None = None, also: Sample | None = None
    ) -> None:
        self.name, self.numbers, self.names, self.also = name, numbers, names, also or {}

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int) -> Sample:
        part = int(self.numbers[number])
        return {self.name: part, "name": f"{self.name} {part}" if self.names is None else self.names[part]} | self.also


def _mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: numbers that look random, from keys that don't (Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
