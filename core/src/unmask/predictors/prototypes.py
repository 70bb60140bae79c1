"""Prototype predictor: codes as scores of many directions (iBOT, Zhou et al. 2021, arXiv:2111.07832)."""

from __future__ import annotations

from typing import Any

from unmask.nn.prototypes import PrototypeHead
from unmask.parts import Predictor
from unmask.step import Step
from unmask.structures import Latent, Mask, Prediction, Tokens
from unmask.support.checks import at_least


class PrototypePredictor(Predictor):
    """`PrototypeHead` at the asked places, hidden ones among them: the encoder must have made a code of each.

    Args:
        encoder_width: D, width of the codes.
        num_prototypes: K (iBOT, section 4.1: 8192).
        hidden_width: of the head's inner layers (released code: 2048).
        bottleneck: width of what is compared (released code: 256).
        held_epochs: that the prototypes get no gradient for, at least 0 (released code: 1).

    Raises:
        ValueError: a number out of range; when called, codes of visible places alone.
    """

    def __init__(
        self,
        encoder_width: int,
        num_prototypes: int = 8192,
        hidden_width: int = 2048,
        bottleneck: int = 256,
        held_epochs: int = 1,
    ) -> None:
        super().__init__()
        at_least(0, held_epochs=held_epochs)
        self.head = PrototypeHead(encoder_width, num_prototypes, hidden_width, bottleneck)
        self.num_prototypes = num_prototypes
        self.held_epochs = held_epochs

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if latent.seen is not None or latent.values.shape[:-1] != mask.hidden.shape:
            raise ValueError("PrototypePredictor needs a code at every place; use a corruption with `drop` 0.")
        return Prediction(self.head(mask.asked.gather(latent.values)), mask.asked)

    def observe(self, step: Step, model: Any) -> None:
        self.head.held = step.given is not None and step.given.progress.epoch < self.held_epochs
