"""Linear predictor: one layer on the code of each asked place (SimMIM, Xie et al. 2021, section 3.3)."""

from __future__ import annotations

import torch
from torch import nn

from unmask.parts import Predictor
from unmask.structures import Latent, Mask, Prediction, Tokens


class LinearPredictor(Predictor):
    """``prediction = W code + b`` at each asked place, all of which the encoder must have seen.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.

    Raises:
        ValueError: the encoder saw only the visible places, so hidden ones have no code, and others than those are
            asked for; or it makes fewer codes than there are places.
    """

    def __init__(self, encoder_width: int, target_width: int) -> None:
        super().__init__()
        self.head = nn.Linear(encoder_width, target_width)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if latent.seen is not None:
            if latent.seen.index.shape == mask.asked.index.shape and torch.equal(latent.seen.index, mask.asked.index):
                return Prediction(self.head(latent.values), mask.asked)
            raise ValueError(
                "LinearPredictor needs a code at every place, but `corruption` drops the hidden ones; "
                "use TransformerPredictor, or a corruption with `drop` 0."
            )
        if latent.values.shape[:-1] != mask.hidden.shape:
            raise ValueError(
                f"LinearPredictor needs a code at each of the {mask.hidden.shape[-1]} places, but the encoder makes "
                f"{latent.values.shape[-2]} coarser ones; use the predictor that belongs to that encoder."
            )
        codes = mask.asked.gather(latent.values)  # [B, M, D]
        return Prediction(self.head(codes), mask.asked)
