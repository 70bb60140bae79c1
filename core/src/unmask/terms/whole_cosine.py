"""Whole cosine: what is shown of a sample tells what a slow copy makes of all of it (SimSiam, Chen and He 2020,
arXiv:2011.10566; FSFM, Wang et al. 2024)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.objectives import asking
from unmask.parts import Predictor
from unmask.schedules import Schedule
from unmask.step import Step
from unmask.terms.crossed import CrossedCosine


class WholeCosine(CrossedCosine):
    """``mean over samples of -cos(predict(head(mean code)), slow head(slow mean code of the whole sample))``.

    Codes are those of visible places, or answers of a decoder at all places. Head, predictor and copies are those of
    `CrossedCosine`; here both sides are the same view.

    Args:
        decoder: answers at all places, as wide as the codes, and is trained with them; None: codes as they are.
        hidden_width: of head and predictor, at least 1. FSFM: 4096.
        width: of what is compared, at least 1. FSFM: 256.
        momentum: of the copies, in [0, 1], or a schedule of it. FSFM: 0.996.
        weight: at least 0, or a schedule of it. FSFM: 0.1.

    Raises:
        ValueError: a number outside its range; when called, a step of several parts.
    """

    def __init__(
        self,
        decoder: Predictor | None = None,
        hidden_width: int = 4096,
        width: int = 256,
        momentum: float | Schedule = 0.996,
        weight: float | Schedule = 0.1,
    ) -> None:
        super().__init__("", "", hidden_width, width, momentum, weight)
        self.decoder = decoder

    def forward(self, step: Step, model: Any) -> Tensor:
        if step.tokens.parts is not None or step.latent.parts is not None:
            raise ValueError("WholeCosine works on samples of one part and one mask, but these have several.")
        places = step.tokens.places
        if self.decoder is None:
            code = step.latent.pool("mean", places)
        else:
            answers = self.decoder(step.latent.codes, places, asking(step.mask, "all"))
            valid = answers.asked.valid
            real = answers.values if valid is None else answers.values * valid[..., None]
            code = real.sum(1) / (real.shape[1] if valid is None else valid.sum(1, keepdim=True))
        answer = self.predict(self.head(code))
        with torch.no_grad():
            right = self.slow_head(self.encoder(step.tokens).pool("mean", places))
        return -F.cosine_similarity(answer.float(), right.float(), dim=-1, eps=1e-6).mean()
