"""Random re-mask: codes of random nodes, hidden or not, become a token before decoding (GraphMAE2, section 3.2)."""

from __future__ import annotations

import torch
from torch import nn

from unmask import Latent, Mask, Prediction, Predictor, Tokens
from unmask.api import inside
from unmask.masks import RandomMask
from unmask_graph.nn.dropout import dropout, share
from unmask_graph.predictors.gat_decoder import GATAnswers


class RandomRemaskDecoder(Predictor):
    """``z[i] = token`` at random nodes, ``W code[i]`` elsewhere; then one attention layer, as in `GATDecoder`.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.
        ratio: share of each graph's nodes that are re-masked, in (0, 1).
        dropout: of what the layer is given, in [0, 1).
        attention_dropout: of the shares of attention, in [0, 1).
        negative_slope: of the leaky rectifier of the scores.
        edge_width: V, values per edge that attention reads; None: it reads none.

    Raises:
        ValueError: ``ratio`` outside its range; when called, on codes of visible nodes only.
    """

    def __init__(
        self,
        encoder_width: int,
        target_width: int,
        ratio: float = 0.5,
        dropout: float = 0.2,
        attention_dropout: float = 0.1,
        negative_slope: float = 0.2,
        edge_width: int | None = None,
    ) -> None:
        super().__init__()
        inside("(0, 1)", ratio=ratio)
        self.remask = RandomMask(ratio)
        self.dropout = share("dropout", dropout)
        self.project = nn.Linear(encoder_width, encoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.empty(1, encoder_width))
        nn.init.xavier_normal_(self.project.weight, gain=2**0.5)
        nn.init.xavier_normal_(self.mask_token)
        self.answers = GATAnswers(encoder_width, target_width, attention_dropout, negative_slope, edge_width)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        """Answers at asked nodes; which codes are replaced is drawn anew for each objective."""
        if latent.seen is not None:
            raise ValueError("RandomRemaskDecoder needs a code at every node, but `corruption` drops the hidden ones.")
        codes = latent.values
        replaced = self.remask(places, None, mask.streams().named("remask")).hidden  # [T]
        given = self.project(codes)
        given = torch.where(replaced[:, None], self.mask_token.to(given.dtype), given)
        given = dropout(given, self.dropout, self.training)
        return Prediction(self.answers(given, places, mask), mask.asked)
