"""Tied features: features of hidden regions by the matrix that embeds them (UNITER, Chen et al. 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from unmask import Latent, Mask, Prediction, Predictor, Tokens


class TiedFeatures(Predictor):
    """``norm(gelu(V code + a)) W + b``, ``W`` the matrix that embeds features; at places that the encoder has seen.

    Args:
        encoder_width: D.
        feature_width: of the features.
        norm_eps: added to the variances in the norm.

    Raises:
        ValueError: when called, codes of visible places alone; in `tie`, a matrix of another size.
    """

    def __init__(self, encoder_width: int, feature_width: int, norm_eps: float = 1e-12) -> None:
        super().__init__()
        self.dense = nn.Linear(encoder_width, encoder_width)
        self.norm = nn.LayerNorm(encoder_width, eps=norm_eps)
        self.table = nn.Parameter(0.02 * torch.randn(encoder_width, feature_width))
        self.bias = nn.Parameter(torch.zeros(feature_width))

    def tie(self, table: nn.Parameter) -> None:
        """Takes the weight ``[D, feature_width]`` of the layer that embeds features."""
        if table.shape != self.table.shape:
            raise ValueError(f"The matrix must be {tuple(self.table.shape)}, but is {tuple(table.shape)}.")
        self.table = table

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if latent.seen is not None:
            raise ValueError("TiedFeatures needs a code at every place; use a corruption with `drop` 0.")
        hidden = self.norm(F.gelu(self.dense(mask.asked.gather(latent.values))))
        return Prediction(F.linear(hidden, self.table.mT, self.bias), mask.asked)
