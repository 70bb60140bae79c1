"""Cosine losses: the angle between answer and target (GraphMAE, Hou et al. 2022, equation 2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Loss
from unmask.support.checks import at_least


class CosineLoss(Loss):
    """``1 - cos(p, t)`` per token, in [0, 2]."""

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        # Norms are clamped at 1e-6: an all-zero answer has a finite gradient.
        return 1 - F.cosine_similarity(prediction.float(), target.float(), dim=-1, eps=1e-6)


class ScaledCosineLoss(CosineLoss):
    """``(1 - cos(p, t)) ** gamma`` per token: easy tokens count less as gamma grows.

    Args:
        gamma: exponent, at least 1. GraphMAE uses 1 to 3 by data set (appendix, table 7).

    Raises:
        ValueError: ``gamma`` is below 1.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        at_least(1, gamma=gamma)
        self.gamma = gamma

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        # Rounding can put 1 - cos a little below 0, where a fractional power is not a number.
        return super().per_token(prediction, target, valid).clamp(min=0) ** self.gamma


class DirectionL1Loss(Loss):
    """``mean(|p / |p| - t / |t||)`` over the values of a token: how far apart directions are (DMAE, Bai et al. 2022,
    section 3.2)."""

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        # Lengths are clamped at 1e-6: an all-zero answer has a finite gradient.
        both = [F.normalize(one.float(), dim=-1, eps=1e-6) for one in (prediction, target)]
        return (both[0] - both[1]).abs().mean(-1)
