"""The layouts of graphs: nodes with edges between them, and edges with nodes at their ends."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask import Set


@dataclass(frozen=True, eq=False, repr=False)
class Graph(Set):
    """The tokens are nodes, always packed ``[T]``. To a mask they are a set, so core's random mask hides nodes.

    Args:
        edges: int64 ``[2, E]``, rows of the source and of the target among the T nodes. What is known of the
            source flows to the target; an undirected graph holds both directions. No edge twice, no
            self-loop: an encoder adds its own.
        edge_values: float ``[E, V]``, or None where edges have none.
    """

    edges: Tensor
    edge_values: Tensor | None = None

    def __repr__(self) -> str:
        return "Graph"


@dataclass(frozen=True, eq=False, repr=False)
class Edges(Set):
    """The tokens are edges, packed ``[U]``: an edge and its reverse are one, and hidden together.

    Args:
        ends: int64 ``[2, U]``, rows of the source and of the target among the T nodes; of an edge with a reverse,
            the lower row first.
        both: bool ``[U]``, whether the edge runs in both directions.
        nodes: float ``[T, F]``, the nodes' features, none of which is hidden.
        node_offsets: int64 ``[B + 1]``, which nodes belong to a sample.
    """

    ends: Tensor
    both: Tensor
    nodes: Tensor
    node_offsets: Tensor

    def __repr__(self) -> str:
        return "Edges"
