"""GAT: each node attends to its neighbours and itself (Veličković et al. 2018, arXiv:1710.10903)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv

from unmask.api import at_least
from unmask_graph.encoders.stack import ConvLayer, GraphEncoder
from unmask_graph.nn.adjacency import Adjacency, EdgeList
from unmask_graph.nn.attention import attend
from unmask_graph.nn.dropout import dropout, share
from unmask_graph.nn.features import Features, dense, project
from unmask_graph.nn.norms import Activation, Norm


class GATEncoder(GraphEncoder):
    """Attention over neighbours, heads side by side, in every layer.

    ``h[i] = act(norm(sum over j of softmax_j(leaky(a_src . W x[j] + a_dst . W x[i])) W x[j] + bias))``

    Weights are those of PyG's ``GATConv``; what they compute is computed by sparse products (`attend`).

    Args:
        num_features: F, values per node.
        width: D, of all heads together. GraphMAE on Cora: 512 (appendix, table 7).
        num_layers: at least 1.
        num_heads: a divisor of ``width``.
        activation: after every layer, the last one too, as in GraphMAE's code.
        norm: before each activation; None: none.
        residual: add a linear layer of the input to each layer's sum but the first one's.
        dropout: of every layer's input, in [0, 1).
        attention_dropout: of the shares of attention, in [0, 1).
        negative_slope: of the leaky rectifier of the scores.
        drop_edge: share of edges left out at random in training, in [0, 1); self-loops stay.
        edge_width: V, values per edge that attention reads beside the nodes; None: it reads none.

    Raises:
        ValueError: a number outside its range, or a width that the heads do not divide.
    """

    self_loops = True
    most_edge_values = None

    def __init__(
        self,
        num_features: int,
        width: int = 512,
        num_layers: int = 2,
        num_heads: int = 4,
        activation: Activation = "prelu",
        norm: Norm | None = None,
        residual: bool = False,
        dropout: float = 0.2,
        attention_dropout: float = 0.1,
        negative_slope: float = 0.2,
        drop_edge: float = 0.0,
        edge_width: int | None = None,
    ) -> None:
        if num_heads < 1 or width % num_heads:
            raise ValueError(f"`num_heads` must divide `width` = {width}, but is {num_heads}.")
        if edge_width is not None:
            at_least(1, edge_width=edge_width)
        layers = [
            GATLayer(
                convolution(
                    width if i else num_features, width, num_heads, attention_dropout, negative_slope, edge_width,
                    residual and i > 0,
                ),
                width, dropout, activation, norm,
            )
            for i in range(num_layers)
        ]  # fmt: skip
        super().__init__(num_features, width, layers, drop_edge, edge_width)


class GATLayer(ConvLayer):
    """Dropout, attention, and what comes after it."""

    def forward(self, x: Features | Tensor, adjacency: Adjacency | EdgeList, offsets: Tensor) -> Tensor:
        conv, drop = self.conv, self.dropout
        if conv.res is not None:  # reads the same input, dropped alike
            x, drop = dropout(dense(x), drop, self.training), 0.0
        sent = project(x, conv.lin.weight, drop, self.training)  # [T, D]
        codes = attend(conv, sent, sent @ by_head(conv), adjacency, self.training)
        if conv.res is not None:
            codes = codes + conv.res(x)
        if conv.bias is not None:
            codes = codes + conv.bias
        return self.after(codes)


def convolution(
    in_width: int,
    width: int,
    num_heads: int,
    attention_dropout: float,
    negative_slope: float = 0.2,
    edge_width: int | None = None,
    residual: bool = False,
    bias: bool = True,
) -> GATConv:
    """PyG's layer with the first weights of GraphMAE's code: normal, Xavier's with gain sqrt(2)."""
    conv = GATConv(
        in_width,
        width // num_heads,
        heads=num_heads,
        dropout=share("attention_dropout", attention_dropout),
        negative_slope=negative_slope,
        edge_dim=edge_width,
        residual=residual,
        bias=bias,
    )
    for name, weight in conv.named_parameters():
        if name != "bias":
            nn.init.xavier_normal_(weight, gain=2**0.5)
    return conv


def by_head(conv: GATConv) -> Tensor:
    """What multiplies a node's values ``[D]`` to give its part of the scores, as source and as target: ``[D, 2 H]``."""
    att = torch.stack([conv.att_src[0], conv.att_dst[0]])  # [2, H, C]
    own = torch.eye(conv.heads, dtype=att.dtype, device=att.device)
    return torch.einsum("shc,hk->hcsk", att, own).reshape(conv.heads * conv.out_channels, 2 * conv.heads)
