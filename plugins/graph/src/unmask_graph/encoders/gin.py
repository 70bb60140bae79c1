"""GIN: sums over neighbours through a small network (Xu et al. 2019, arXiv:1810.00826)."""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.nn import GINConv, GINEConv

from unmask_graph.encoders.stack import ConvLayer, GraphEncoder
from unmask_graph.nn.adjacency import Adjacency, EdgeList
from unmask_graph.nn.aggregate import aggregate, sums
from unmask_graph.nn.dropout import dropout
from unmask_graph.nn.features import Features, dense
from unmask_graph.nn.norms import Activation, Norm, activation_of, norm_of


class GINEncoder(GraphEncoder):
    """Sums over neighbours, two linear layers with a norm and an activation after each, in every layer.

    ``h[i] = act(norm(MLP((1 + epsilon) x[i] + sum over j of x[j])))``; where values of edges are read, neighbours send
    ``relu(x[j] + W e[j, i])`` (GINE, Hu et al. 2020, arXiv:1905.12265), which takes a row of D numbers per edge.

    Weights are those of PyG's ``GINConv``, or ``GINEConv``. The released code of GraphMAE adds self-loops before it
    trains GINs, so that a node counts twice: ``epsilon`` 1.

    Args:
        num_features: F, values per node.
        width: D. GraphMAE on IMDB and PROTEINS: 512; on MUTAG: 32 (appendix, table 8).
        num_layers: at least 1.
        epsilon: how much more a node counts than each of its neighbours; not learned.
        activation: within and after every layer, as in GraphMAE's code.
        norm: before each activation; None: none.
        dropout: of every layer's input, in [0, 1).
        drop_edge: share of edges left out at random in training, in [0, 1).
        edge_width: V, values per edge that are read; None: none are.

    Raises:
        ValueError: a number outside its range.
    """

    most_edge_values = None

    def __init__(
        self,
        num_features: int,
        width: int = 512,
        num_layers: int = 2,
        epsilon: float = 1.0,
        activation: Activation = "prelu",
        norm: Norm | None = "batch",
        dropout: float = 0.2,
        drop_edge: float = 0.0,
        edge_width: int | None = None,
    ) -> None:
        layers = [
            GINLayer(
                convolution(network(width if i else num_features, width, width, activation, norm), epsilon, edge_width),
                width,
                dropout,
                activation,
                norm,
            )
            for i in range(num_layers)
        ]
        super().__init__(num_features, width, layers, drop_edge, edge_width)


class GINLayer(ConvLayer):
    """Dropout, the sum and its network, and what comes after."""

    def forward(self, x: Features | Tensor, adjacency: Adjacency | EdgeList, offsets: Tensor) -> Tensor:
        x = dropout(dense(x), self.dropout, self.training)
        return self.after(self.conv.nn(x * (1 + self.conv.eps) + received(self.conv, adjacency, x)))


def convolution(within: nn.Sequential, epsilon: float = 0.0, edge_width: int | None = None) -> GINConv | GINEConv:
    """PyG's layer, which reads values of edges where there are any to read."""
    return GINEConv(within, epsilon, edge_dim=edge_width) if edge_width else GINConv(within, epsilon)


def received(conv: GINConv | GINEConv, adjacency: Adjacency | EdgeList, x: Tensor) -> Tensor:
    """The sum of what neighbours send, ``[T, D]``."""
    if not isinstance(conv, GINEConv):
        return aggregate(adjacency, x)
    assert adjacency.values is not None
    return sums(adjacency, (x[adjacency.source] + conv.lin(adjacency.values)).relu())


def network(in_width: int, width: int, out_width: int, activation: Activation, norm: Norm | None) -> nn.Sequential:
    """The small network of a GIN: linear, norm, activation, linear."""
    return nn.Sequential(
        nn.Linear(in_width, width), norm_of(norm, width), activation_of(activation), nn.Linear(width, out_width)
    )
