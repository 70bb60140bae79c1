"""Frame predictor: two layers on the code of each asked frame (TERA, Liu et al. 2021, section III)."""

from __future__ import annotations

from torch import nn

from unmask import Latent, Mask, Prediction, Predictor, Tokens


class FramePredictor(Predictor):
    """``prediction = W2 norm(gelu(W1 code))``, as wide as the codes. The encoder must have seen all places.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.

    Raises:
        ValueError: in `forward`, an encoder that saw only the visible places, so hidden ones have no code.
    """

    def __init__(self, encoder_width: int, target_width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(encoder_width, encoder_width)
        self.norm = nn.LayerNorm(encoder_width)
        self.head = nn.Linear(encoder_width, target_width)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if latent.seen is not None:
            raise ValueError(
                "FramePredictor needs a code at every place, but `corruption` drops the hidden ones; use one with "
                "`drop` 0."
            )
        codes = mask.asked.gather(latent.values)  # [B, M, D]
        return Prediction(self.head(self.norm(nn.functional.gelu(self.dense(codes)))), mask.asked)
