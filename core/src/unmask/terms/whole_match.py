"""Whole match: codes of whole samples stay near a teacher's (self-distillation for further pretraining, Lee et al.
2022, arXiv:2210.02871)."""

from __future__ import annotations

from typing import Any

import torch

from unmask.joint import compared, encoded
from unmask.losses import MSELoss
from unmask.parts import Loss, Target, Term
from unmask.schedules import Schedule
from unmask.step import Given, Shown, Step
from unmask.structures import Mask, Prediction


class WholeMatch(Term):
    """``mean over all places of loss(encoder(x), teacher(x))``, with nothing hidden from either.

    The encoder runs a second time, on whole samples. Codes must be as wide as the teacher's features.

    Args:
        teacher: whose features.
        loss: compares the two. Paper: squared distance.
        weight: at least 0, or a schedule of it. Paper: 1.

    Raises:
        ValueError: a weight below 0; when called, joint tokens, or features of another width.
    """

    def __init__(self, teacher: Target, loss: Loss = MSELoss(), weight: float | Schedule = 1.0) -> None:
        super().__init__(weight)
        self.teacher = teacher
        self.loss = loss

    def forward(self, step: Step, model: Any) -> torch.Tensor:
        tokens = step.tokens
        if tokens.parts is not None:
            raise ValueError("WholeMatch works on samples of one part, but these have several.")
        like = step.mask if step.mask.parts is None else next(iter(step.mask.parts.values()))  # of several, any
        hidden = torch.zeros_like(like.hidden)
        real = ~hidden if like.valid is None else like.valid
        known = None if like.valid is not None or hidden.ndim == 1 else hidden.shape[1]
        mask = Mask(hidden, predict=real, valid=like.valid, num_hidden=0 if known else None, num_predict=known)
        given = Given(None if step.given is None else step.given.batch, Shown(tokens, mask))
        with torch.no_grad():
            right = self.teacher(tokens, mask, given)
        codes = mask.asked.gather(encoded(model.encoder, tokens).values)
        return compared(self.loss, Prediction(codes, mask.asked), right, given).total
