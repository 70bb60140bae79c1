"""Neighbour teacher: targets are made of a teacher's codes that are alike and near (DMT-JEPA, Mo et al. 2024,
arXiv:2405.17995)."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.predictors.neighbour_predictor import NeighbourPredictor, grid_of
from unmask.schedules import Linear, Progress, Schedule, at
from unmask.step import Given
from unmask.structures import Mask, Tokens
from unmask.targets.ema_teacher import EMATeacher


class NeighbourTeacher(EMATeacher):
    """``head(layer-norm(codes))`` of a copy of the encoder, and of the head that the model's `NeighbourPredictor` has.

    Both copies follow by the same momentum; no gradient reaches them.

    Args:
        momentum: as `EMATeacher`.

    Raises:
        ValueError: as `EMATeacher`; in `start`, another predictor.
    """

    head: nn.Module

    def __init__(self, momentum: float | Schedule = Linear(start=0.996, end=1.0)) -> None:
        super().__init__(momentum)

    def start(self, model: Any) -> None:
        super().start(model)
        predictor = model.predictor
        if not isinstance(predictor, NeighbourPredictor):
            raise ValueError(
                f"`predictor` must be a `neighbours` one for a `neighbour-teacher`, but is a "
                f"{type(predictor).__name__}."
            )
        self.head = copy.deepcopy(predictor.head).requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        codes = self.teacher(tokens).values
        codes = F.layer_norm(codes.float(), codes.shape[-1:])  # [B, N, D]
        return mask.asked.gather(self.head(codes, grid_of(tokens), mask.valid))

    @torch.no_grad()
    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        numbers = super().update(model, progress)
        slow: list[Tensor] = list(self.head.parameters())
        quick: list[Tensor] = list(model.predictor.head.parameters())
        torch._foreach_lerp_(slow, quick, 1 - at(self.momentum, progress))
        return numbers
