"""Transformed predictor: a layer, GELU and a norm before the answers (BERT's head, Devlin et al. 2018, section 3.1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from unmask.predictors.linear import LinearPredictor
from unmask.structures import Latent, Mask, Prediction, Tokens


class TransformedPredictor(LinearPredictor):
    """``W norm(gelu(V code + a)) + b`` at each asked place, all of which the encoder must have seen.

    Scores of ids (of words, of an image's codes) or values. FLAVA, LayoutLMv3 and LXMERT have such heads, with an
    answer matrix ``W`` of their own.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer: with ids as targets, how many there are.
        hidden_width: of the layer before; None: D.
        norm_eps: added to the variances in the norm. BERT: 1e-12.

    Raises:
        ValueError: when called, as `LinearPredictor`.
    """

    def __init__(
        self, encoder_width: int, target_width: int, hidden_width: int | None = None, norm_eps: float = 1e-12
    ) -> None:
        hidden_width = hidden_width or encoder_width
        super().__init__(hidden_width, target_width)
        self.dense = nn.Linear(encoder_width, hidden_width)
        self.norm = nn.LayerNorm(hidden_width, eps=norm_eps)
        for layer in (self.dense, self.head):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def tie(self, table: nn.Parameter) -> None:
        """Takes a table of embeddings ``[T, hidden_width]`` as answer matrix.

        Raises:
            ValueError: it is of another size.
        """
        if table.shape != self.head.weight.shape:
            raise ValueError(
                f"`target_width` and `hidden_width` must be {tuple(table.shape)} to share a table of embeddings, but "
                f"are {tuple(self.head.weight.shape)}."
            )
        self.head.weight = table

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        codes = self.norm(F.gelu(self.dense(latent.values)))
        return super().forward(Latent(codes, latent.seen), places, mask)
