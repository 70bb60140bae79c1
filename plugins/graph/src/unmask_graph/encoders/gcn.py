"""GCN: means over neighbours, weighted by degrees (Kipf & Welling 2017, arXiv:1609.02907)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.nn import GCNConv

from unmask_graph.encoders.stack import ConvLayer, GraphEncoder
from unmask_graph.nn.adjacency import Adjacency
from unmask_graph.nn.aggregate import aggregate
from unmask_graph.nn.features import Features, project
from unmask_graph.nn.norms import Activation, Norm


class GCNEncoder(GraphEncoder):
    """Neighbours and the node itself, each over the square root of both degrees, in every layer.

    ``h[i] = act(norm(sum over j of W x[j] / sqrt(d[i] d[j]) + bias))``, self-loops counted in degrees.

    Weights are those of PyG's ``GCNConv``.

    Args:
        num_features: F, values per node.
        width: D. MaskGAE's code: 128.
        num_layers: at least 1. MaskGAE's code: 2.
        activation: after every layer.
        norm: before each activation; None: none.
        dropout: of every layer's input, in [0, 1).
        drop_edge: share of edges left out at random in training, in [0, 1); self-loops stay.

    Raises:
        ValueError: a number outside its range.
    """

    self_loops = True

    def __init__(
        self,
        num_features: int,
        width: int = 128,
        num_layers: int = 2,
        activation: Activation = "elu",
        norm: Norm | None = None,
        dropout: float = 0.2,
        drop_edge: float = 0.0,
    ) -> None:
        layers = [
            GCNLayer(GCNConv(width if i else num_features, width), width, dropout, activation, norm)
            for i in range(num_layers)
        ]
        super().__init__(num_features, width, layers, drop_edge)


class GCNLayer(ConvLayer):
    """Dropout, the weighted mean, and what comes after."""

    def forward(self, x: Features | Tensor, adjacency: Adjacency, offsets: Tensor) -> Tensor:
        sent = project(x, self.conv.lin.weight, self.dropout, self.training)  # [T, D]
        scale = adjacency.degree.to(torch.promote_types(sent.dtype, torch.float)).rsqrt()  # a self-loop each: above 0
        weight = scale[adjacency.source] * scale[adjacency.target]  # [E]
        return self.after(aggregate(adjacency, sent, weight) + self.conv.bias)
