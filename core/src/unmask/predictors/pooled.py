"""Pooled predictor: one answer for a sample, from the mean of its codes."""

from __future__ import annotations

from typing import Literal

from torch import nn

from unmask.parts import Predictor
from unmask.structures import Latent, Mask, Prediction, Tokens


class PooledPredictor(Predictor):
    """``W pool(codes) + b`` ``[B, 1, T]``, for answers asked once a sample (``ask: sample``).

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer, such as the number of classes.
        pool: ``mean`` or ``max`` over places, or ``cls``.

    Raises:
        ValueError: when called, answers asked for at several places of a sample.
    """

    def __init__(self, encoder_width: int, target_width: int, pool: Literal["mean", "max", "cls"] = "mean") -> None:
        super().__init__()
        self.pool = pool
        self.head = nn.Linear(encoder_width, target_width)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if mask.asked.index.ndim != 2 or mask.asked.index.shape[1] != 1:
            raise ValueError("`ask` must be 'sample' for PooledPredictor, which has one answer for each.")
        return Prediction(self.head(latent.pool(self.pool, places))[:, None], mask.asked)
