"""Discriminator head: was this token replaced? (ELECTRA, Clark et al. 2020, arXiv:2003.10555, section 2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN

from unmask import Latent, Mask, Prediction, Predictor, Tokens


class DiscriminatorHead(Predictor):
    """Scores of both classes at each asked place, original and replaced: ``(0, s)``, ``[M, 2]`` or ``[B, M, 2]``.

    Their cross-entropy is the binary one of ``s``, ELECTRA's.

    Args:
        encoder_width: D, width of the codes.
        activation: transformers' name of it.
    """

    def __init__(self, encoder_width: int, activation: str = "gelu") -> None:
        super().__init__()
        self.dense = nn.Linear(encoder_width, encoder_width)
        self.activation = ACT2FN[activation]
        self.score = nn.Linear(encoder_width, 1)
        for layer in (self.dense, self.score):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        codes = mask.asked.gather(latent.values)  # [M, D]
        score = self.score(self.activation(self.dense(codes)))  # [M, 1]
        return Prediction(F.pad(score, (1, 0)), mask.asked)
