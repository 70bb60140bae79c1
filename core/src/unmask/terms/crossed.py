"""Crossed cosine: what one view shows of a sample tells what a slow copy makes of the other, whole view (BYOL, Grill et
al. 2020, arXiv:2006.07733; LUT, Kim et al. 2023)."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.parts import Term
from unmask.schedules import Cosine, Progress, Schedule, at
from unmask.step import Step
from unmask.support.checks import at_least


class CrossedCosine(Term):
    """``mean over both pairs of 2 - 2 cos(predict(head(mean code of one view)), slow head(mean code of the other))``.

    The encoder's codes are those of the visible places; the copy sees the other view whole, and gets no gradient. Head
    and predictor are two linear layers each, without biases or norms, with a ReLU between.

    Args:
        first: one view, by its name.
        second: the other one.
        hidden_width: of head and predictor, at least 1. LUT: 4096.
        width: of what is compared, at least 1 (256 as in BYOL).
        momentum: of the copy, in [0, 1], or a schedule of it. LUT: 0.99996 to 1 by half a cosine.
        weight: at least 0, or a schedule of it. LUT: 0.1.

    Raises:
        ValueError: a number outside its range; when called, a step without such views.
    """

    def __init__(
        self,
        first: str = "first",
        second: str = "second",
        hidden_width: int = 4096,
        width: int = 256,
        momentum: float | Schedule = Cosine(start=0.99996, end=1.0),
        weight: float | Schedule = 0.1,
    ) -> None:
        super().__init__(weight)
        at_least(1, hidden_width=hidden_width, width=width)
        if not isinstance(momentum, Schedule) and not 0 <= momentum <= 1:
            raise ValueError(f"`momentum` must be in [0, 1], but is {momentum}.")
        self.names = (first, second)
        self.hidden_width, self.width = hidden_width, width
        self.momentum = momentum

    def start(self, model: Any) -> None:
        self.head = _two_layers(model.encoder.width, self.hidden_width, self.width)
        self.predict = _two_layers(self.width, self.hidden_width, self.width)
        self.encoder = copy.deepcopy(model.encoder).requires_grad_(False).eval()
        self.slow_head = copy.deepcopy(self.head).requires_grad_(False)

    def train(self, mode: bool = True) -> CrossedCosine:
        super().train(mode)
        if hasattr(self, "encoder"):
            self.encoder.eval()
        return self

    def forward(self, step: Step, model: Any) -> Tensor:
        parts = step.tokens.parts or {}
        for name in self.names:
            if name not in parts:
                raise ValueError(f"A step must have a view `{name}`, but has {', '.join(parts) or 'no views'}.")
        first, second = self.names
        return (self._told(step, first, second) + self._told(step, second, first)) / 2

    def _told(self, step: Step, one: str, other: str) -> Tensor:
        latent, tokens = step.latent.part(one), step.tokens.part(other)
        answer = self.predict(self.head(latent.pool("mean", step.tokens.part(one).places)))
        with torch.no_grad():
            right = self.slow_head(self.encoder(tokens).pool("mean", tokens.places))
        return (2 - 2 * F.cosine_similarity(answer.float(), right.float(), dim=-1, eps=1e-6)).mean()

    @torch.no_grad()
    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        momentum = at(self.momentum, progress)
        for slow, quick in ((self.encoder, model.encoder), (self.slow_head, self.head)):
            torch._foreach_lerp_(list(slow.parameters()), list(quick.parameters()), 1 - momentum)
            for mine, theirs in zip(slow.buffers(), quick.buffers(), strict=True):
                mine.copy_(theirs)
        return {"crossed_momentum": momentum}


def _two_layers(width: int, hidden_width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden_width, bias=False), nn.ReLU(), nn.Linear(hidden_width, out, bias=False)
    )
