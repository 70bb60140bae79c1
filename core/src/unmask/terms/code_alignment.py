"""Code alignment: regressed codes of hidden places are those that the encoder makes of them (CAE, Chen et al. 2022,
arXiv:2202.03026, section 3.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.parts import Term
from unmask.schedules import Schedule
from unmask.step import Step


class CodeAlignment(Term):
    """Codes of the hidden places by a predictor, against those by the encoder, which sees the hidden places alone.

    ``mean over hidden places of mean((regressed - stopgrad(encoder(hidden tokens)))^2)``

    The encoder answers as it is, and without a gradient. It needs a predictor that regresses codes, such as
    `unmask.predictors.RegressorPredictor`, asked at the hidden places.

    Args:
        weight: at least 0, or a schedule of it. Paper: 2 (section 4.1).

    Raises:
        ValueError: a weight below 0; when called, a predictor that regresses no codes, several parts, packed tokens, or
            answers asked for elsewhere.
    """

    def __init__(self, weight: float | Schedule = 2.0) -> None:
        super().__init__(weight)

    def forward(self, step: Step, model: Any) -> Tensor:
        mask = step.mask
        if mask.parts is not None or step.tokens.offsets is not None:
            raise ValueError(
                "`code-alignment` works on dense samples of one part, but these are packed or have several."
            )
        regressed = step.prediction.latents  # [B, M, D]
        if regressed is None:
            raise ValueError("`predictor` must regress codes for `code-alignment`, but does not; nearest: regressor.")
        if mask.predict is not None:
            raise ValueError("`ask` must be 'hidden' for `code-alignment`, but is not.")

        with torch.no_grad():
            right = model.encoder(step.tokens, mask.complement).values  # [B, M, D]
        per_place = (regressed.float() - right.float()).square().mean(-1)  # [B, M]
        valid = mask.asked.valid
        if valid is None:
            return per_place.mean()
        return per_place.masked_fill(~valid, 0).sum() / valid.sum().clamp(min=1)
