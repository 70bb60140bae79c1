"""What all graph encoders share: how nodes and edges are shown, and layers one after the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from unmask import RANDOM, TOKEN, Encoder, Latent, Mask, Tokens
from unmask.api import Program, at_least
from unmask_graph.encoders.program import program_of
from unmask_graph.layout import Edges, Graph
from unmask_graph.nn.adjacency import Adjacency, EdgeList
from unmask_graph.nn.dropout import share
from unmask_graph.nn.features import Features
from unmask_graph.nn.norms import Activation, Norm, activation_of, norm_of


class GraphLayer(nn.Module):
    """One layer of a graph encoder: codes of all nodes from those of their neighbours."""

    compilable: ClassVar[bool] = False
    """Sparse products, and sizes that depend on values, are no graphs of `torch.compile`'s."""

    @abstractmethod
    def forward(self, x: Features | Tensor, adjacency: Adjacency | EdgeList, offsets: Tensor) -> Tensor:
        """Codes ``[T, D]``.

        Args:
            x: codes ``[T, D']`` of the layer before, or what the first one is shown.
            adjacency: who sends to whom among the T nodes.
            offsets: ``[B + 1]``, which nodes belong to a graph.
        """


class ConvLayer(GraphLayer):
    """A layer of PyG's weights: dropout of its input before them, norm and activation after.

    Args:
        conv: holds the weights.
        width: D, of its codes.
        dropout: of the input, in [0, 1).
        activation: after the norm.
        norm: of the codes; None: none.
    """

    def __init__(
        self, conv: MessagePassing, width: int, dropout: float, activation: Activation, norm: Norm | None
    ) -> None:
        super().__init__()
        self.conv = conv
        self.dropout = share("dropout", dropout)
        self.after = nn.Sequential(norm_of(norm, width), activation_of(activation))


class GraphEncoder(Encoder):
    """Layers of message passing over whole graphs, packed.

    Where nodes are hidden (`Graph`), edges stay, and each hidden node is shown as a learned mask token in the
    space of features, as another node, or as it is, by the method's corruption; or not at all, with its edges.
    Where edges are hidden (`Edges`), they are taken away in both directions, and there are codes of all nodes.
    Exported programs read ``x``, ``edge_index``, ``edge_attr`` and ``batch``: see `GraphProgram`.

    Args:
        num_features: F, values per node.
        width: D.
        layers: the first of them reads F values, the others D.
        drop_edge: share of edges left out at random in training, in [0, 1).
        edge_width: V, values per edge that the layers read; None: they read none, whether there are any or not.

    Raises:
        ValueError: no layers, ``drop_edge`` or ``edge_width`` outside its range; when called, features or edge values
            of another width, or tokens on another layout.
    """

    self_loops: ClassVar[bool] = False
    """Whether each node gets one self-loop, in place of those that there are."""
    most_edge_values: ClassVar[int | None] = 0
    """How many values of each edge the layers can read; None: any number."""
    reads_graphs: ClassVar[bool] = False
    """Whether a node's code depends on which nodes are of its graph, beyond their edges."""

    def __init__(
        self,
        num_features: int,
        width: int,
        layers: Sequence[GraphLayer],
        drop_edge: float,
        edge_width: int | None = None,
    ) -> None:
        super().__init__()
        if not layers:
            raise ValueError("`num_layers` must be at least 1, but is not.")
        self.num_features = num_features
        self.width = width
        self.num_layers = len(layers)
        self.drop_edge = share("drop_edge", drop_edge)
        if edge_width is not None:
            at_least(1, edge_width=edge_width)
            if self.most_edge_values is not None and edge_width > self.most_edge_values:
                allowed = f"at most {self.most_edge_values}" if self.most_edge_values else "None"
                raise ValueError(f"`edge_width` must be {allowed} for {type(self).__name__}, but is {edge_width}.")
        self.edge_width = edge_width
        self.mask_token = nn.Parameter(torch.zeros(num_features))  # zeros, as in GraphMAE's released code
        self.layers = nn.ModuleList(layers)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        depth = self.depth(layer)
        layout = tokens.layout
        dropped = None
        values: Tensor | None
        if isinstance(layout, Edges):
            x, offsets = layout.nodes, layout.node_offsets
            features = Features(x)
            edges, values = _shown_edges(layout, tokens.values, mask)
        elif isinstance(layout, Graph):
            assert tokens.offsets is not None
            x, edges, values, offsets = tokens.values, layout.edges, layout.edge_values, tokens.offsets
            if mask is not None and mask.show is None:
                dropped = mask.visible
                x, edges, values, offsets = _without(mask.hidden, x, edges, values, offsets)
                features = Features(x)
            else:
                features = self._shown_nodes(x, mask)
        else:
            raise ValueError(f"{type(self).__name__} works on a Graph or on Edges, but the tokens lie on a {layout}.")
        if values is None and self.edge_width == 1:
            values = x.new_ones(edges.shape[1], 1)  # as the tokens of edges without values have it
        self._check(x, values)

        if self.training and self.drop_edge:
            kept = torch.rand(edges.shape[1], device=edges.device) >= self.drop_edge
            edges, values = edges[:, kept], None if values is None else values[kept]
        adjacency = Adjacency.of(edges, len(x), values if self.edge_width else None, self.self_loops)
        codes: Features | Tensor = features
        for step in self.layers[:depth]:
            codes = step(codes, adjacency, offsets)
        assert isinstance(codes, Tensor)
        return Latent(codes, dropped)

    def program(self, tokens: Tokens, pool: str | None) -> Program:
        """From PyG's ``x``, ``edge_index``, ``edge_attr`` and ``batch`` to codes: see `GraphProgram`."""
        return program_of(self, pool)

    def _shown_nodes(self, x: Tensor, mask: Mask | None) -> Features:
        """The features with the mask token, or another node's, at hidden nodes."""
        if mask is None:
            return Features(x)
        assert mask.show is not None
        stand_in = None
        if mask.donor is not None:
            nodes = torch.arange(len(x), device=x.device)
            stand_in = torch.where(mask.hidden & (mask.show == RANDOM), mask.donor, nodes)
        return Features(x, stand_in, mask.hidden & (mask.show == TOKEN), self.mask_token)

    def _check(self, x: Tensor, values: Tensor | None) -> None:
        if x.shape[-1] != self.num_features:
            raise ValueError(
                f"`num_features` must be {x.shape[-1]}, the width of the nodes' features, but is {self.num_features}."
            )
        found = None if values is None else values.shape[-1]
        if self.edge_width and found != self.edge_width:
            raise ValueError(f"`edge_width` must be {found}, the values of an edge, but is {self.edge_width}.")


def _shown_edges(layout: Edges, values: Tensor, mask: Mask | None) -> tuple[Tensor, Tensor]:
    """Directed edges ``[2, E]`` that are not hidden, and their values ``[E, V]``."""
    ends, both = layout.ends, layout.both
    if mask is not None:
        ends, both, values = ends[:, ~mask.hidden], both[~mask.hidden], values[~mask.hidden]
    return torch.cat([ends, ends.flip(0)[:, both]], dim=1), torch.cat([values, values[both]])


def _without(
    hidden: Tensor, x: Tensor, edges: Tensor, values: Tensor | None, offsets: Tensor
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The graphs that are left without the ``hidden`` nodes ``[T]``, whose rows close up."""
    before = torch.cat([offsets.new_zeros(1), (~hidden).cumsum(0)])  # visible nodes before each row
    between = ~hidden[edges].any(0)
    return x[~hidden], before[edges[:, between]], None if values is None else values[between], before[offsets]
