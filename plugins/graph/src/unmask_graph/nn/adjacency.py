"""Who sends to whom: edges sorted by target, in which sums over neighbours are quick, or as they are given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Adjacency:
    """Edges of R targets from C sources, sorted by target (compressed sparse rows).

    Args:
        start: ``[R + 1]`` int64; the edges into target i are ``start[i]`` to ``start[i + 1]``.
        source: ``[E]`` int64 in [0, C), where each edge comes from. An edge may be there twice.
        num_sources: C.
        values: ``[E, V]`` values of edges; None: they have none.
    """

    start: Tensor
    source: Tensor
    num_sources: int
    values: Tensor | None = None

    @classmethod
    def of(cls, edges: Tensor, num_nodes: int, values: Tensor | None = None, self_loops: bool = False) -> Adjacency:
        """Edges in any order, sorted.

        Args:
            edges: ``[2, E]`` int64, sources above targets.
            num_nodes: R and C.
            values: ``[E, V]`` values of edges.
            self_loops: replace self-loops by exactly one at every node, whose values are the mean of those
                that come in (zero where nothing does), as PyG's attention layers do.
        """
        if self_loops:
            edges, values = _with_loops(edges, num_nodes, values)
        target, order = edges[1].sort(stable=True)
        return cls(
            start=starts_of(target.bincount(minlength=num_nodes)),
            source=edges[0][order],
            num_sources=num_nodes,
            values=None if values is None else values[order],
        )

    @property
    def num_targets(self) -> int:
        """R."""
        return len(self.start) - 1

    @cached_property
    def degree(self) -> Tensor:
        """``[R]`` int64, edges into each target."""
        return self.start.diff()

    @cached_property
    def target(self) -> Tensor:
        """``[E]`` int64, where each edge goes to; ascending."""
        rows = torch.arange(self.num_targets, device=self.start.device)
        return rows.repeat_interleave(self.degree, output_size=len(self.source))

    @cached_property
    def reverse(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same edges sorted by source: ``start [C + 1]``, ``target [E]``, and which edge each is ``[E]``."""
        source, order = self.source.sort(stable=True)
        return starts_of(source.bincount(minlength=self.num_sources)), self.target[order], order

    def into(self, targets: Tensor) -> Adjacency:
        """Only the edges into ``targets`` ``[R']`` int64, which become 0 to R' - 1; sources keep their numbers."""
        degree = self.degree[targets]
        start = starts_of(degree)
        num_edges = int(start[-1])
        edge = torch.arange(num_edges, device=start.device)
        edge += (self.start[targets] - start[:-1]).repeat_interleave(degree, output_size=num_edges)
        values = None if self.values is None else self.values[edge]
        return replace(self, start=start, source=self.source[edge], values=values)

    def per_head(self, num_heads: int) -> tuple[Adjacency, Tensor]:
        """H copies of the graph, one per attention head, in which node i of head h has number ``i * H + h``.

        Returns:
            The copies without values, and for each of their edges ``[E * H]`` the edge that it is a copy of.
        """
        device = self.start.device
        if num_heads == 1:
            return replace(self, values=None), torch.arange(len(self.source), device=device)
        degree = self.degree.repeat_interleave(num_heads)  # [R * H]
        start, num_edges = starts_of(degree), len(self.source) * num_heads
        first = self.start[:-1].repeat_interleave(num_heads)
        edge = torch.arange(num_edges, device=device)
        edge += (first - start[:-1]).repeat_interleave(degree, output_size=num_edges)
        head = torch.arange(num_heads, device=device).repeat(self.num_targets)
        head = head.repeat_interleave(degree, output_size=num_edges)
        source = self.source[edge] * num_heads + head
        return Adjacency(start, source, self.num_sources * num_heads), edge


@dataclass(frozen=True, eq=False)
class EdgeList:
    """The same edges in the order they are given: what programs are traced with, for no step sorts or reads a value.

    Args:
        source: ``[E]`` int64 in [0, C).
        target: ``[E]`` int64 in [0, R).
        num_sources: C.
        num_targets: R.
        values: ``[E, V]`` values of edges; None: they have none.
    """

    source: Tensor
    target: Tensor
    num_sources: int
    num_targets: int
    values: Tensor | None = None

    @classmethod
    def of(cls, edges: Tensor, num_nodes: int, values: Tensor | None = None, self_loops: bool = False) -> EdgeList:
        """As `Adjacency.of`."""
        if self_loops:
            edges, values = _with_loops(edges, num_nodes, values)
        return cls(edges[0], edges[1], num_nodes, num_nodes, values)

    @property
    def degree(self) -> Tensor:
        """``[R]`` int64, edges into each target."""
        return counts_of(self.target, self.num_targets)

    def per_head(self, num_heads: int) -> tuple[EdgeList, Tensor]:
        """As `Adjacency.per_head`."""
        head = torch.arange(num_heads, device=self.source.device)
        source, target = ((end[:, None] * num_heads + head).flatten() for end in (self.source, self.target))
        edge = torch.arange(self.source.shape[0], device=self.source.device)[:, None].expand(-1, num_heads).flatten()
        return EdgeList(source, target, self.num_sources * num_heads, self.num_targets * num_heads), edge


def counts_of(index: Tensor, size: int) -> Tensor:
    return index.new_zeros(size).scatter_add(0, index, torch.ones_like(index))


def starts_of(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _with_loops(edges: Tensor, num_nodes: int, values: Tensor | None) -> tuple[Tensor, Tensor | None]:
    between = edges[0] != edges[1]
    edges = edges[:, between]
    nodes = torch.arange(num_nodes, device=edges.device)
    if values is not None:
        values = values[between]
        total = values.new_zeros(num_nodes, values.shape[1]).index_add_(0, edges[1], values)
        count = counts_of(edges[1], num_nodes).clamp(min=1)
        values = torch.cat([values, total / count[:, None]])
    return torch.cat([edges, nodes.expand(2, -1)], dim=1), values
