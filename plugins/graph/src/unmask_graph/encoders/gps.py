"""GPS: message passing beside attention between all nodes of a graph (Rampášek et al. 2022, arXiv:2205.12454)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.api import at_least
from unmask.nn import attend
from unmask_graph.encoders.gin import convolution, network, received
from unmask_graph.encoders.stack import GraphEncoder, GraphLayer
from unmask_graph.nn.adjacency import Adjacency, EdgeList
from unmask_graph.nn.aggregate import aggregate
from unmask_graph.nn.dropout import dropout, share
from unmask_graph.nn.features import Features, project


class GPSEncoder(GraphEncoder):
    """A graph transformer: in every block a GIN and full attention side by side, then a network.

    ``y = norm(x + GIN(x)) + norm(x + attention(x)); h = norm(y + MLP(y))``, norms being BatchNorm (equations 2 to 5).

    Nodes know where they are by walks, as the paper advises: for each node, the chance to be back after 1 to
    ``num_steps`` random steps is added to its features, through a linear layer. It is computed from the edges
    that are shown. Attention is between all pairs of a graph: for graphs of up to a few thousand nodes.

    Args:
        num_features: F, values per node.
        width: D. Paper, on ZINC: 64 (table A.3).
        num_layers: blocks, at least 1. Paper, on ZINC: 10.
        num_heads: a divisor of ``width``. Paper: 4.
        num_steps: length of the longest walk, at least 0 (no walks). Paper, on ZINC: 20.
        dropout: after GIN, attention and network, in [0, 1).
        drop_edge: share of edges left out at random in training, in [0, 1).
        edge_width: V, values per edge that GINs read, as `GINEncoder`; None: they read none. Paper, on ZINC: kinds of
            bonds.

    Raises:
        ValueError: a number outside its range, or a width that the heads do not divide.
    """

    most_edge_values = None
    reads_graphs = True

    def __init__(
        self,
        num_features: int,
        width: int = 64,
        num_layers: int = 4,
        num_heads: int = 4,
        num_steps: int = 20,
        dropout: float = 0.0,
        drop_edge: float = 0.0,
        edge_width: int | None = None,
    ) -> None:
        if num_heads < 1 or width % num_heads:
            raise ValueError(f"`num_heads` must divide `width` = {width}, but is {num_heads}.")
        at_least(0, num_steps=num_steps)
        layers: list[GraphLayer] = [GPSLayer(width, num_heads, dropout, edge_width) for _ in range(num_layers)]
        if layers:
            layers[0] = _First(nn.Linear(num_features, width), num_steps, layers[0])
        super().__init__(num_features, width, layers, drop_edge, edge_width)


class GPSLayer(GraphLayer):
    """One block.

    Args:
        width: D.
        num_heads: a divisor of it.
        dropout: in [0, 1).
        edge_width: V, values per edge that are read; None: none are.
    """

    def __init__(self, width: int, num_heads: int, dropout: float, edge_width: int | None = None) -> None:
        super().__init__()
        self.conv = convolution(network(width, width, width, "relu", None), edge_width=edge_width)
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(3))
        self.dropout = share("dropout", dropout)

    def forward(self, x: Features | Tensor, adjacency: Adjacency | EdgeList, offsets: Tensor) -> Tensor:
        assert isinstance(x, Tensor)
        local = self.conv.nn(x * (1 + self.conv.eps) + received(self.conv, adjacency, x))
        local = self.norms[0](x + dropout(local, self.dropout, self.training))
        spread = self.norms[1](x + dropout(self._attended(x, adjacency, offsets), self.dropout, self.training))
        y = local + spread
        return self.norms[2](y + dropout(self.mlp(y), self.dropout, self.training))

    def _attended(self, x: Tensor, adjacency: Adjacency | EdgeList, offsets: Tensor) -> Tensor:
        """What each node reads from all nodes of its graph, ``[T, D]``."""
        qkv = nn.functional.linear(x, self.attention.in_proj_weight, self.attention.in_proj_bias)
        if isinstance(adjacency, EdgeList):  # a program knows no length: all pairs of nodes, then those of one graph
            node = torch.arange(x.shape[0], device=x.device)
            owner = (node[:, None] >= offsets[1:]).sum(1)  # [T], its graph
            return self.attention.out_proj(self._read(qkv[None], (owner[:, None] == owner)[None, None])[0])
        counts = offsets.diff()
        real = torch.arange(int(counts.max()), device=x.device) < counts[:, None]  # [B, N]
        padded = qkv.new_zeros(*real.shape, qkv.shape[1])
        padded[real] = qkv
        out = self._read(padded, None if len(counts) == 1 else real[:, None, None, :])[real]  # [T, D]
        return self.attention.out_proj(out)

    def _read(self, qkv: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = qkv.unflatten(-1, (3, self.attention.num_heads, -1)).permute(2, 0, 3, 1, 4)  # [B, H, N, D / H]
        return attend(q, k, v, mask).transpose(1, 2).flatten(2)  # [B, N, D]


class _First(GraphLayer):
    """Features and walks made as wide as codes, then the first block."""

    def __init__(self, embed: nn.Linear, num_steps: int, block: GraphLayer) -> None:
        super().__init__()
        self.embed = embed
        self.walks = nn.Linear(num_steps, embed.out_features, bias=False) if num_steps else None
        self.block = block

    def forward(self, x: Features | Tensor, adjacency: Adjacency | EdgeList, offsets: Tensor) -> Tensor:
        codes = project(x, self.embed.weight, 0.0, self.training) + self.embed.bias
        if self.walks is not None:
            codes = codes + self.walks(returns(adjacency, offsets, self.walks.in_features).to(codes.dtype))
        return self.block(codes, adjacency, offsets)


def returns(adjacency: Adjacency | EdgeList, offsets: Tensor, num_steps: int) -> Tensor:
    """The chance of each node to be where it started after 1 to ``num_steps`` random steps, ``[T, num_steps]``.

    A step follows an edge into the node, each as likely; a walk ends where there is none.
    """
    num_nodes = adjacency.num_targets
    node = torch.arange(num_nodes, device=offsets.device)
    if isinstance(adjacency, EdgeList):  # a program knows no length
        place, num_places = node, num_nodes
    else:
        place = node - offsets[:-1].repeat_interleave(offsets.diff(), output_size=num_nodes)  # number within its graph
        num_places = int(offsets.diff().max())
    chance = (1 / adjacency.degree.clamp(min=1).float())[adjacency.target]
    walk = torch.zeros(num_nodes, num_places, device=offsets.device)
    walk[node, place] = 1
    back = []
    for _ in range(num_steps):
        walk = aggregate(adjacency, walk, chance)
        back.append(walk[node, place])
    return torch.stack(back, 1)
