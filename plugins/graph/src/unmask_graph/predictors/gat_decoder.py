"""GAT decoder: one layer of attention over what is left of the codes (GraphMAE, Hou et al. 2022, section 3.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Latent, Mask, Prediction, Predictor, Tokens
from unmask_graph.encoders.gat import by_head, convolution
from unmask_graph.layout import Graph
from unmask_graph.nn.adjacency import Adjacency
from unmask_graph.nn.attention import attend
from unmask_graph.predictors.remask import Remask


class GATDecoder(Predictor):
    """Re-masked codes, one attention layer of a single head, no activation and no norm.

    ``answer[i] = W (sum over j of share[i, j] * z[j]) + bias`` at asked nodes, ``z`` being zero at hidden ones.

    This is PyG's ``GATConv`` with its linear layer after the sum: the sum is over D' values instead of as many as
    a node has features, and the layer runs at asked nodes only. The decoder sees all edges, those too that the
    encoder's ``drop_edge`` left out.

    At a node whose neighbours are all hidden the answer is the bias alone, which starts at zero: a cosine's gradient
    there is huge in the first steps, and Adam's memory of it then holds the bias where those steps have put it. This
    is as in the released code, and on Cora it keeps the codes good to the end (docs/architecture.md). Where most of
    the loss can be had from one answer for all nodes (the import graph), leave the bias out.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.
        width: D', what codes are projected to; None: D.
        dropout: of the re-masked codes, in [0, 1).
        attention_dropout: of the shares of attention, in [0, 1).
        negative_slope: of the leaky rectifier of the scores.
        edge_width: V, values per edge that attention reads; None: it reads none.
        bias: whether answers have one, the same for all nodes.
    """

    def __init__(
        self,
        encoder_width: int,
        target_width: int,
        width: int | None = None,
        dropout: float = 0.2,
        attention_dropout: float = 0.1,
        negative_slope: float = 0.2,
        edge_width: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        width = width or encoder_width
        self.remask = Remask(encoder_width, width, dropout)
        self.answers = GATAnswers(width, target_width, attention_dropout, negative_slope, edge_width, bias)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        return Prediction(self.answers(self.remask(latent, mask), places, mask), mask.asked)


class GATAnswers(nn.Module):
    """The attention layer alone, with its linear layer last; weights are those of PyG's ``GATConv``.

    Arguments as in `GATDecoder`.
    """

    def __init__(
        self,
        width: int,
        target_width: int,
        attention_dropout: float,
        negative_slope: float,
        edge_width: int | None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.conv = convolution(width, target_width, 1, attention_dropout, negative_slope, edge_width, bias=bias)

    def forward(self, given: Tensor, places: Tokens, mask: Mask) -> Tensor:
        """Answers ``[M, T]`` at asked nodes from what stands at all nodes ``[T, D']``."""
        layout = places.layout
        assert isinstance(layout, Graph)
        conv, asked = self.conv, mask.asked
        values = layout.edge_values if conv.lin_edge is not None else None
        edges = Adjacency.of(layout.edges, len(given), values, self_loops=True).into(asked.index)

        weight = conv.lin.weight  # [T, D']
        scores = given @ (weight.t() @ by_head(conv))  # [T, 2]
        sums = attend(conv, given, scores, edges, self.training, asked.gather(scores)[:, 1:])  # [M, D']
        return F.linear(sums, weight, conv.bias)
