"""GCN: means over neighbours, weighted by degrees (Kipf & Welling 2017, arXiv:1609.02907)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.nn import GCNConv

from unmask_graph.encoders.stack import ConvLayer, GraphEncoder
from unmask_graph.nn.adjacency import Adjacency, EdgeList
from unmask_graph.nn.aggregate import aggregate, sums
from unmask_graph.nn.features import Features, project
from unmask_graph.nn.norms import Activation, Norm


class GCNEncoder(GraphEncoder):
    """Neighbours and the node itself, each over the square root of both degrees, in every layer.

    ``h[i] = act(norm(sum over j of e[j, i] W x[j] / sqrt(d[i] d[j]) + bias))``, self-loops counted in degrees. ``e`` is
    the weight of an edge where edges have one that is read, else 1; degrees are sums of it.

    Weights are those of PyG's ``GCNConv``.

    Args:
        num_features: F, values per node.
        width: D. MaskGAE's code: 128.
        num_layers: at least 1. MaskGAE's code: 2.
        activation: after every layer.
        norm: before each activation; None: none.
        dropout: of every layer's input, in [0, 1).
        drop_edge: share of edges left out at random in training, in [0, 1); self-loops stay.
        edge_width: 1: edges have a weight of at least 0, which is read; None: it is not.

    Raises:
        ValueError: a number outside its range.
    """

    self_loops = True
    most_edge_values = 1

    def __init__(
        self,
        num_features: int,
        width: int = 128,
        num_layers: int = 2,
        activation: Activation = "elu",
        norm: Norm | None = None,
        dropout: float = 0.2,
        drop_edge: float = 0.0,
        edge_width: int | None = None,
    ) -> None:
        layers = [
            GCNLayer(GCNConv(width if i else num_features, width), width, dropout, activation, norm)
            for i in range(num_layers)
        ]
        super().__init__(num_features, width, layers, drop_edge, edge_width)


class GCNLayer(ConvLayer):
    """Dropout, the weighted mean, and what comes after."""

    def forward(self, x: Features | Tensor, adjacency: Adjacency | EdgeList, offsets: Tensor) -> Tensor:
        sent = project(x, self.conv.lin.weight, self.dropout, self.training)  # [T, D]
        dtype = torch.promote_types(sent.dtype, torch.float)
        given = None if adjacency.values is None else _weights(adjacency).to(dtype)
        degree = adjacency.degree.to(dtype) if given is None else sums(adjacency, given)
        scale = degree.rsqrt()  # a self-loop each: above 0
        weight = scale[adjacency.source] * scale[adjacency.target]  # [E]
        return self.after(aggregate(adjacency, sent, weight if given is None else weight * given) + self.conv.bias)


def _weights(adjacency: Adjacency | EdgeList) -> Tensor:
    """``[E]``: those of edges, and 1 for self-loops."""
    assert adjacency.values is not None
    return adjacency.values[:, 0].masked_fill(adjacency.source == adjacency.target, 1.0)
