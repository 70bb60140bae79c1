"""Prototype teacher: which prototypes a slow copy of encoder and head sees in each place (iBOT, Zhou et al. 2021,
arXiv:2111.07832)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from unmask.joint import names_of
from unmask.nn.prototypes import Centre
from unmask.parts import Encoder
from unmask.predictors.prototypes import PrototypePredictor
from unmask.schedules import Cosine, Linear, Progress, Schedule, at
from unmask.step import Given, Step
from unmask.structures import Mask, Tokens
from unmask.targets.ema_teacher import EMATeacher

CLASS_SCORES = "class_scores"
"""In `Shown.made`: the teacher's scores of the class token of each part ``[B, K]``, for `CrossedPrototypes`."""


class PrototypeTeacher(EMATeacher):
    """``softmax((head(code) - centre) / temperature)`` by copies of encoder and head that follow them and see all.

    The centre follows the mean of the scores at asked places, over all devices. The model's predictor must be a
    `PrototypePredictor`.

    Args:
        momentum: of both copies, as `EMATeacher`. iBOT: 0.996 to 1 by half a cosine.
        temperature: above 0, or a schedule of it. iBOT: 0.04 to 0.07 over 30 epochs.
        centre_momentum: in [0, 1]. iBOT: 0.9.

    Raises:
        ValueError: a number out of range; in `start`, another predictor.

    Differs from iBOT's released code in the centre, whose mean is there over all places (here as in DINOv2's).
    """

    joint = True

    def __init__(
        self,
        momentum: float | Schedule = Cosine(start=0.996, end=1.0),
        temperature: float | Schedule = Linear(start=0.04, end=0.07, by="epoch", over=30),
        centre_momentum: float = 0.9,
    ) -> None:
        super().__init__(momentum, "none")
        check_temperature("temperature", temperature)
        self.temperature = temperature
        self.centre_momentum = centre_momentum
        Centre(1, centre_momentum)  # refuses one out of range

    def start(self, model: Any) -> None:
        super().start(model)
        if not isinstance(model.predictor, PrototypePredictor):
            raise ValueError(
                "`predictor` must be `prototypes` for a prototype teacher, which copies its head, but is "
                f"{type(model.predictor).__name__}."
            )
        self.head = copy.deepcopy(model.predictor.head).requires_grad_(False)
        self.centre = Centre(model.predictor.num_prototypes, self.centre_momentum)

    @torch.no_grad()
    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Any:
        temperature = at(self.temperature, Progress() if given is None else given.progress)
        names = names_of(tokens, mask)
        scores = {name: self._scores(name, tokens.part(name), mask.part(name), given) for name in names or [""]}
        answers = {name: self.centre(one, temperature) for name, one in scores.items()}
        return answers if names else answers[""]

    def _scores(self, name: str, tokens: Tokens, mask: Mask, given: Given | None) -> Tensor:
        """Scores at the asked places ``[B, M, K]``; those of the class token are left to terms."""
        encoder: Encoder = self.encoder
        latent = encoder(tokens)
        scores: Tensor = self.head(mask.asked.gather(latent.values))
        if given is not None:
            valid = mask.asked.valid
            real = scores if valid is None else scores * valid[..., None]
            count = scores[..., 0].numel() if valid is None else valid.sum()
            made = given.shown.made
            made.setdefault("asked_scores", []).append((real.flatten(0, -2).float().sum(0), count))
            if latent.prefix is not None:
                made.setdefault(CLASS_SCORES, {})[name] = self.head(latent.prefix[:, 0])
        return scores

    def observe(self, step: Step, model: Any) -> None:
        assert step.given is not None
        totals, counts = zip(*step.given.shown.made["asked_scores"], strict=True)
        self.centre.follow(torch.stack(totals).sum(0), sum(counts))

    @torch.no_grad()
    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        told = super().update(model, progress)
        torch._foreach_lerp_(
            list(self.head.parameters()), list(model.predictor.head.parameters()), 1 - told["momentum"]
        )
        return told | {"teacher_temperature": at(self.temperature, progress)}


def check_temperature(name: str, value: float | Schedule) -> None:
    """Refuses a temperature that is not above 0."""
    if not isinstance(value, Schedule) and not value > 0:
        raise ValueError(f"`{name}` must be above 0, but is {value}.")
