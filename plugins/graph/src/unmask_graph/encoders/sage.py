"""GraphSAGE: a node beside the mean of its neighbours (Hamilton et al. 2017, arXiv:1706.02216)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import SAGEConv

from unmask_graph.encoders.stack import ConvLayer, GraphEncoder
from unmask_graph.nn.adjacency import Adjacency, EdgeList
from unmask_graph.nn.aggregate import aggregate
from unmask_graph.nn.dropout import dropout
from unmask_graph.nn.features import Features, dense
from unmask_graph.nn.norms import Activation, Norm


class SAGEEncoder(GraphEncoder):
    """One linear layer of the node, another of its neighbours' mean, in every layer.

    ``h[i] = act(norm(W x[i] + V mean over j of x[j] + bias))``; the mean of no neighbours is 0.

    Weights are those of PyG's ``SAGEConv``. Neighbours are sampled by the data module, not here.

    Args:
        num_features: F, values per node.
        width: D. Paper, section 4: 256.
        num_layers: at least 1. Paper: 2.
        activation: after every layer.
        norm: before each activation; None: none.
        dropout: of every layer's input, in [0, 1).
        drop_edge: share of edges left out at random in training, in [0, 1).

    Raises:
        ValueError: a number outside its range.
    """

    def __init__(
        self,
        num_features: int,
        width: int = 256,
        num_layers: int = 2,
        activation: Activation = "relu",
        norm: Norm | None = None,
        dropout: float = 0.2,
        drop_edge: float = 0.0,
    ) -> None:
        layers = [
            SAGELayer(SAGEConv(width if i else num_features, width), width, dropout, activation, norm)
            for i in range(num_layers)
        ]
        super().__init__(num_features, width, layers, drop_edge)


class SAGELayer(ConvLayer):
    """Dropout, both linear layers, and what comes after."""

    def forward(self, x: Features | Tensor, adjacency: Adjacency | EdgeList, offsets: Tensor) -> Tensor:
        conv = self.conv
        shown = dropout(dense(x), self.dropout, self.training)
        share = 1 / adjacency.degree.clamp(min=1).to(torch.promote_types(shown.dtype, torch.float))  # [T]
        of_edge = share[adjacency.target]
        if shown.shape[1] > conv.out_channels:  # the mean of what is narrower
            neighbours = aggregate(adjacency, F.linear(shown, conv.lin_l.weight), of_edge) + conv.lin_l.bias
        else:
            neighbours = conv.lin_l(aggregate(adjacency, shown, of_edge))
        return self.after(neighbours + conv.lin_r(shown))
