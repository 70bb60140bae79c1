"""Terms of a book of codes: that codes are used evenly, and that vectors and entries meet."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from unmask import Schedule, Step, Term
from unmask.api import at_least


class CodeUse(Term):
    """``log C - H(mean over the batch's patches of softmax(scores))``: 0 where all C codes are used evenly.

    It is the divergence of their use from an even one, for encoders that leave scores in ``Latent.features``.

    Args:
        weight: at least 0, or a schedule of it.
    """

    def forward(self, step: Step, model: Any) -> Tensor:
        scores = step.latent.features
        assert scores is not None
        use = scores.float().softmax(-1).flatten(0, -2).mean(0)  # [C]
        return math.log(len(use)) + (use * use.clamp(min=1e-12).log()).sum()


class Commitment(Term):
    """``mean (sg[v] - e)^2 + beta (v - sg[e])^2`` of each patch's vector v and its entry e, both of length 1.

    Args:
        weight: at least 0, or a schedule of it.
        beta: at least 0. VQ-VAE (section 3.2): 0.25.

    Raises:
        ValueError: ``beta`` below 0.
    """

    def __init__(self, weight: float | Schedule = 1.0, beta: float = 0.25) -> None:
        super().__init__(weight)
        at_least(0, beta=beta)
        self.beta = beta

    def forward(self, step: Step, model: Any) -> Tensor:
        choice = step.latent.features
        assert choice is not None
        vector = F.normalize(choice.float(), dim=-1)
        entry = F.normalize(model.encoder.book.float(), dim=-1)[model.encoder.chosen(choice)]
        pull = (vector.detach() - entry).square().mean()
        return pull + self.beta * (vector - entry.detach()).square().mean()
