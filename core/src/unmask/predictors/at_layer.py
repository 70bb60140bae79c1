"""At a layer: any predictor, on the codes of an inner layer of the encoder."""

from __future__ import annotations

from typing import Any

from unmask.parts import Predictor
from unmask.structures import Latent, Mask, Prediction, Tokens


class AtLayer(Predictor):
    """Gives a predictor the codes of one layer instead of the last one's (M3AE, Chen et al. 2022: layer 3 of 6).

    Args:
        predictor: answers.
        layer: of the encoder, in [1, num_layers]; its codes are not normed.

    Raises:
        ValueError: a layer below 1; when the model is made, one that the encoder has not.
    """

    def __init__(self, predictor: Predictor, layer: int) -> None:
        super().__init__()
        if layer < 1:
            raise ValueError(f"`layer` must be at least 1, but is {layer}.")
        self.predictor = predictor
        self.layer = layer
        self.reads = (layer, *predictor.reads)
        self.joint = predictor.joint  # type: ignore[misc]

    def start(self, model: Any) -> None:
        """Not its predictor's: the model starts that one itself."""

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        answers: Prediction = self.predictor(latent.layer(self.layer), places, mask)
        return answers
