"""Masked pass: samples that are used whole are encoded again with a part hidden, which is predicted (masked object
modelling, Panariello et al. 2024, arXiv:2401.03191)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.joint import answered, compared, encoded, wanted
from unmask.parts import Corruption, Loss, MaskSampler, Predictor, Target, Term
from unmask.schedules import Progress, Schedule
from unmask.step import Given, Shown, Step


class MaskedPass(Term):
    """``loss(predictor(encoder(what is shown)), target)`` at hidden places, by the model's own encoder.

    It adds masked prediction to a model that learns something else of whole samples, such as numbers or classes.

    Args:
        mask: chooses what is hidden in this pass.
        predictor: answers at hidden places.
        target: the right answers.
        loss: compares the two.
        corruption: how hidden places are shown.
        weight: at least 0, or a schedule of it.

    Raises:
        ValueError: a weight below 0.
    """

    def __init__(
        self,
        mask: MaskSampler,
        predictor: Predictor,
        target: Target,
        loss: Loss,
        corruption: Corruption = Corruption(drop=1),
        weight: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight)
        self.mask, self.predictor, self.target, self.loss = mask, predictor, target, loss
        self.corruption = corruption

    def forward(self, step: Step, model: Any) -> Tensor:
        tokens = step.tokens
        progress = Progress() if step.given is None else step.given.progress
        hidden = self.mask(tokens, progress, step.mask.streams().named("masked pass"))
        shown: Shown = self.corruption(tokens, hidden)
        given = Given(None if step.given is None else step.given.batch, shown, progress)
        with torch.no_grad():
            right = wanted(self.target, tokens, shown.mask, given)
        latent = encoded(model.encoder, shown.tokens, shown.mask)
        prediction = answered(self.predictor, latent.codes, tokens.places, shown.mask)
        total: Tensor = compared(self.loss, prediction, right, given).total
        asks = prediction.asked.index.numel() > 0  # of objects, a batch may have none
        return total if asks else prediction.values.float().sum() * 0
