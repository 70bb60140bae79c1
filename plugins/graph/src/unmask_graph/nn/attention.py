"""Attention over neighbours as PyG's ``GATConv`` defines it, by sparse products (GAT, Veličković et al. 2018)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import GATConv

from unmask_graph.nn.adjacency import Adjacency, EdgeList
from unmask_graph.nn.aggregate import aggregate, edge_softmax
from unmask_graph.nn.dropout import dropout


def attend(
    conv: GATConv,
    sent: Tensor,
    scores: Tensor,
    adjacency: Adjacency | EdgeList,
    training: bool,
    target_scores: Tensor | None = None,
) -> Tensor:
    """``y[i] = sum over edges j -> i of softmax_j(leaky(s[j] + t[i] + e[edge])) * sent[j]``, head by head.

    Args:
        conv: says the number of heads, slope and dropout, and how values of edges are scored.
        sent: ``[C, D]`` what sources send, heads side by side.
        scores: ``[C, 2 H]`` each node's part of the scores, as source, then as target.
        adjacency: R targets, C sources, with values where ``conv`` reads them.
        training: whether shares are dropped.
        target_scores: ``[R, H]`` where targets are not the same nodes as sources; None: they are.

    Returns:
        ``[R, D]``, heads side by side.
    """
    num_heads = conv.heads
    heads, edge = adjacency.per_head(num_heads)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float))  # shares are too coarse in 16 bits
    as_target = scores[:, num_heads:] if target_scores is None else target_scores.to(scores.dtype)
    score = scores[:, :num_heads].reshape(-1)[heads.source] + as_target.reshape(-1)[heads.target]  # [E * H]
    if conv.lin_edge is not None:
        assert adjacency.values is not None
        weight = conv.lin_edge.weight.view(num_heads, conv.out_channels, -1)  # [H, C, V]
        of_edge = adjacency.values @ torch.einsum("hcv,hc->vh", weight, conv.att_edge[0])  # [E, H]
        score = score + of_edge[edge, heads.target % num_heads]
    share = edge_softmax(heads, F.leaky_relu(score, conv.negative_slope))
    share = dropout(share, conv.dropout, training)
    out = aggregate(heads, sent.reshape(sent.shape[0] * num_heads, -1), share)  # [R * H, D / H]
    return out.view(adjacency.num_targets, -1)
