"""Latent head: answers beside a slowly following teacher's codes (GraphMAE2, Hou et al. 2023, section 3.2)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from unmask import Given, Latent, Mask, Prediction, Predictor, Progress, Schedule, Tokens
from unmask.targets import EMATeacher


class LatentHead(Predictor):
    """``predict(project(code))`` of the asked nodes: ``[M, D]``.

    Args:
        encoder_width: D, width of the codes.
        hidden: width of the projection's hidden layer. Released code: 256.
    """

    def __init__(self, encoder_width: int, hidden: int = 256) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(encoder_width, hidden), nn.PReLU(), nn.Linear(hidden, encoder_width))
        self.predict = nn.Sequential(nn.PReLU(), nn.Linear(encoder_width, encoder_width))

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if latent.seen is not None:
            raise ValueError("LatentHead needs a code at every node, but `corruption` drops the hidden ones.")
        return Prediction(self.predict(self.project(mask.asked.gather(latent.values))), mask.asked)


class ProjectedTeacher(EMATeacher):
    """``project'(teacher's code)`` of the asked nodes, where ``project'`` follows a head's as the teacher the encoder.

    Args:
        head: whose projection is followed.
        momentum: of the moving averages, in [0, 1], or a schedule of it.

    Raises:
        ValueError: a momentum outside [0, 1].
    """

    def __init__(self, head: LatentHead, momentum: float | Schedule = 0.996) -> None:
        super().__init__(momentum, normalize=False)
        self.follower = copy.deepcopy(head.project).requires_grad_(False)
        self.head = (head,)  # not a part of this target

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        return self.follower(super().forward(tokens, mask))

    @torch.no_grad()
    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        numbers = super().update(model, progress)
        mine: list[Tensor] = list(self.follower.parameters())
        theirs: list[Tensor] = list(self.head[0].project.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - numbers["momentum"])
        return numbers
