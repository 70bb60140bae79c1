"""Crossed prototypes: a view's class token tells which prototypes a teacher sees in the other view (DINO, Caron et al.
2021, arXiv:2104.14294)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.nn.prototypes import Centre
from unmask.parts import Term
from unmask.predictors.prototypes import PrototypePredictor
from unmask.schedules import Progress, Schedule, at
from unmask.step import Step
from unmask.targets.prototype_teacher import CLASS_SCORES, PrototypeTeacher, check_temperature


class CrossedPrototypes(Term):
    """``mean over both pairs of -sum softmax((t - centre) / teacher_temperature) * log softmax(s / temperature)``.

    ``s`` are scores of the class token of one view, as it is masked, by the model's predictor; ``t`` those of the other
    view, whole, by the model's `PrototypeTeacher`. The two share their head with the loss of places, as in iBOT.

    Args:
        first: one view, by its name.
        second: the other one.
        temperature: of the student, above 0. DINO: 0.1.
        teacher_temperature: above 0, or a schedule of it. iBOT: 0.04.
        centre_momentum: of the centre of class tokens, in [0, 1]. DINO: 0.9.
        weight: at least 0, or a schedule of it. iBOT: 1.

    Raises:
        ValueError: a number out of range; in `start`, a model without prototypes; when called, a step without such
            views, or an encoder without a class token.
    """

    def __init__(
        self,
        first: str = "first",
        second: str = "second",
        temperature: float = 0.1,
        teacher_temperature: float | Schedule = 0.04,
        centre_momentum: float = 0.9,
        weight: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight)
        check_temperature("temperature", temperature)
        check_temperature("teacher_temperature", teacher_temperature)
        self.names = (first, second)
        self.temperature = temperature
        self.teacher_temperature = teacher_temperature
        self.centre_momentum = centre_momentum
        Centre(1, centre_momentum)  # refuses one out of range

    def start(self, model: Any) -> None:
        if not isinstance(model.predictor, PrototypePredictor) or not isinstance(model.target, PrototypeTeacher):
            raise ValueError(
                "`crossed-prototypes` needs a model whose `predictor` is `prototypes` and whose `target` is "
                "`prototype-teacher`."
            )
        self.centre = Centre(model.predictor.num_prototypes, self.centre_momentum)

    def forward(self, step: Step, model: Any) -> Tensor:
        right = self._right(step)
        temperature = at(self.teacher_temperature, Progress() if step.given is None else step.given.progress)
        losses = []
        for one, other in (self.names, self.names[::-1]):
            prefix = step.latent.part(one).prefix
            assert prefix is not None  # the teacher, a copy of the encoder, has one
            scores = model.predictor.head(prefix[:, 0]).float() / self.temperature  # [B, K]
            losses.append(-(self.centre(right[other], temperature) * F.log_softmax(scores, -1)).sum(-1).mean())
        return (losses[0] + losses[1]) / 2

    def _right(self, step: Step) -> dict[str, Tensor]:
        """The teacher's scores of the class token of each view."""
        for name in self.names:
            if name not in (step.latent.parts or {}):
                have = ", ".join(step.latent.parts or {}) or "no views"
                raise ValueError(f"A step must have a view `{name}`, but has {have}.")
        made: dict[str, Any] = {} if step.given is None else step.given.shown.made
        if CLASS_SCORES not in made:
            raise ValueError("`crossed-prototypes` needs an encoder with a class token, but this has none.")
        scores: dict[str, Tensor] = made[CLASS_SCORES]
        return scores

    def observe(self, step: Step, model: Any) -> None:
        scores = torch.cat([self._right(step)[name] for name in self.names])  # [2 B, K]
        self.centre.follow(scores.sum(0), len(scores))
