"""Graph tokenizers: what may be hidden are the nodes of a graph, or its edges."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask import Prediction, Tokenizer, Tokens
from unmask_graph.drawing import Drawable, as_graphml, as_picture
from unmask_graph.layout import Edges, Graph


class GraphTokenizer(Tokenizer):
    """Nodes ``[T, F]`` with their features, packed, on a `Graph` layout (GraphMAE hides nodes' features).

    A batch holds ``x [T, F]``, ``edges [2, E]``, ``offsets [B + 1]`` and, where edges have values,
    ``edge_values [E, V]``.
    """

    def forward(self, batch: Mapping[str, Any]) -> Tokens:
        """Tokens of a batch from a data module of this package, or of one made by hand with its keys."""
        layout = Graph(batch["edges"], batch.get("edge_values"))
        return Tokens(batch["x"], layout, offsets=batch["offsets"])

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """Drawn graphs, nodes in colours of their features, hidden ones grey; of large graphs a part, which is said.

        Args:
            tokens: of B graphs.
            hidden: ``[T]`` bool; None: nothing is.
        """
        return [as_picture(graph) for graph in _of_nodes(tokens, hidden, None)]

    def files(
        self, tokens: Tokens, hidden: Tensor | None = None, prediction: Prediction | None = None
    ) -> dict[str, list[bytes]]:
        """``.graphml`` of each graph, hidden nodes marked; where ``prediction`` is as wide as the features, the
        cosine of each answer with the truth."""
        return {".graphml": [as_graphml(graph) for graph in _of_nodes(tokens, hidden, prediction)]}

    def raw(self, tokens: Tokens) -> Tensor:
        """The sum of each graph's node features ``[B, F]``."""
        return torch.segment_reduce(tokens.values, "sum", lengths=tokens.offsets.diff())  # type: ignore[union-attr]


class EdgeTokenizer(Tokenizer):
    """Edges ``[U, V]``, packed, on an `Edges` layout (MaskGAE hides edges).

    An edge and its reverse are one token; its values are those of the direction from the lower row. Edges
    without values have the single value 1.
    """

    def forward(self, batch: Mapping[str, Any]) -> Tokens:
        """Tokens of a batch as for `GraphTokenizer`, ordered by sample, then by ends."""
        edges, offsets = batch["edges"], batch["offsets"]
        chosen, both = undirected(edges, len(batch["x"]))
        ends = edges[:, chosen]  # [2, U]
        values = batch.get("edge_values")
        values = batch["x"].new_ones(len(chosen), 1) if values is None else values[chosen]
        # Samples own consecutive nodes, so edges ordered by their first end are ordered by sample.
        edge_offsets = torch.searchsorted(ends.amin(0), offsets)  # [B + 1]
        return Tokens(values, Edges(ends, both, batch["x"], offsets), offsets=edge_offsets)

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """Drawn graphs, hidden edges in orange; of large graphs a part, which is said.

        Args:
            tokens: of B graphs.
            hidden: ``[U]`` bool; None: nothing is.
        """
        return [as_picture(graph) for graph in _of_edges(tokens, hidden, None)]

    def files(
        self, tokens: Tokens, hidden: Tensor | None = None, prediction: Prediction | None = None
    ) -> dict[str, list[bytes]]:
        """``.graphml`` of each graph, hidden edges marked; the first number of each answer as its ``score``."""
        return {".graphml": [as_graphml(graph) for graph in _of_edges(tokens, hidden, prediction)]}

    def raw(self, tokens: Tokens) -> Tensor:
        """The sum of each graph's node features ``[B, F]``."""
        layout = tokens.layout
        assert isinstance(layout, Edges)
        return torch.segment_reduce(layout.nodes, "sum", lengths=layout.node_offsets.diff())


def undirected(edges: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """One edge of each pair of nodes that are joined, ordered by the pair's lower row, then by its higher one.

    Args:
        edges: int64 ``[2, E]``, no edge twice.
        num_nodes: T.

    Returns:
        The columns chosen ``[U]``, of an edge with a reverse the one from the lower row; and whether each has
        a reverse, bool ``[U]``.
    """
    low, high = edges.amin(0), edges.amax(0)
    backward = edges[0] > edges[1]
    order = ((low * num_nodes + high) * 2 + backward).argsort()  # a pair's forward edge comes first
    pair = (low * num_nodes + high)[order]
    first = torch.ones_like(pair, dtype=torch.bool)
    first[1:] = pair[1:] != pair[:-1]
    both = torch.zeros_like(first)
    both[:-1] = ~first[1:]  # the next one is the same pair's reverse
    return order[first], both[first]


def _of_nodes(tokens: Tokens, hidden: Tensor | None, prediction: Prediction | None) -> list[Drawable]:
    """B graphs whose nodes may be hidden."""
    layout, values = tokens.layout, tokens.values.detach().float()
    assert isinstance(layout, Graph)
    chosen, both = undirected(layout.edges, len(values))
    covered = torch.zeros(len(values), dtype=torch.bool) if hidden is None else hidden
    answers = {}
    if prediction is not None and prediction.values.shape[-1] == values.shape[1] and prediction.values.ndim == 2:
        index = prediction.asked.index
        cosine = torch.cosine_similarity(prediction.values.detach().float(), values[index])
        answers["cosine"] = values.new_full((len(values),), float("nan")).index_copy(0, index, cosine)
    nothing = torch.zeros(len(chosen), dtype=torch.bool)
    return _cut(tokens.offsets, values, layout.edges[:, chosen], both, covered, nothing, answers, False)


def _of_edges(tokens: Tokens, hidden: Tensor | None, prediction: Prediction | None) -> list[Drawable]:
    """B graphs whose edges may be hidden."""
    layout = tokens.layout
    assert isinstance(layout, Edges)
    covered = torch.zeros_like(layout.both) if hidden is None else hidden
    answers = {}
    if prediction is not None and len(prediction.values) == len(prediction.asked.index):
        score = prediction.values.detach().float().reshape(len(prediction.values), -1)[:, 0]
        answers["score"] = score.new_full((len(covered),), float("nan")).index_copy(0, prediction.asked.index, score)
    nothing = torch.zeros(len(layout.nodes), dtype=torch.bool)
    nodes = layout.nodes.float()
    return _cut(layout.node_offsets, nodes, layout.ends, layout.both, nothing, covered, answers, True)


def _cut(
    offsets: Tensor | None, nodes: Tensor, ends: Tensor, both: Tensor, hidden_nodes: Tensor, hidden_edges: Tensor,
    answers: dict[str, Tensor], of_edges: bool,
) -> list[Drawable]:  # fmt: skip
    """Packed graphs one by one; edges between two samples are in none."""
    assert offsets is not None
    bounds = offsets.cpu().numpy()
    numbers, joined, two_way, covered, crossed = (
        part.cpu().numpy() for part in (nodes, ends, both, hidden_nodes, hidden_edges)
    )
    told = {name: answer.cpu().numpy() for name, answer in answers.items()}
    graphs = []
    for start, end in pairwise(bounds):
        inside = ((joined >= start) & (joined < end)).all(0)
        own = {name: answer[inside] if of_edges else answer[start:end] for name, answer in told.items()}
        graphs.append(
            Drawable(
                numbers[start:end], joined[:, inside] - start, two_way[inside], covered[start:end], crossed[inside],
                own, of_edges,
            )
        )  # fmt: skip
    return graphs
