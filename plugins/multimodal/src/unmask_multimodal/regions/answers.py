"""Answer head: one answer a sample, from a part's class token (LXMERT's question answering, Tan & Bansal 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from unmask import Latent, Mask, Prediction, Predictor, Tokens


class AnswerHead(Predictor):
    """``W norm(gelu(V tanh(P class token)))``, with twice D numbers in the middle; asked once a sample.

    Args:
        encoder_width: D.
        target_width: how many answers there are. LXMERT: 9,500.
        norm_eps: added to the variances in the norm.

    Raises:
        ValueError: when called, a part without a class token, or asked at several places.
    """

    def __init__(self, encoder_width: int, target_width: int, norm_eps: float = 1e-12) -> None:
        super().__init__()
        self.pooler = nn.Linear(encoder_width, encoder_width)
        self.dense = nn.Linear(encoder_width, 2 * encoder_width)
        self.norm = nn.LayerNorm(2 * encoder_width, eps=norm_eps)
        self.head = nn.Linear(2 * encoder_width, target_width)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if latent.prefix is None:
            raise ValueError("An answer head needs a class token, but this part's encoder has none.")
        if mask.asked.index.shape[1:] != (1,):
            raise ValueError("`ask` must be 'sample' for an answer head, which gives one answer a sample.")
        pooled = torch.tanh(self.pooler(latent.prefix[:, :1]))  # [B, 1, D]
        return Prediction(self.head(self.norm(F.gelu(self.dense(pooled)))), mask.asked)
