"""Regression losses: squared, absolute and smooth absolute error, averaged over a token's values."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Loss


class MSELoss(Loss):
    """``mean((p - t)^2)`` over the values of a token (MAE, He et al. 2021, section 3)."""

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        return F.mse_loss(prediction.float(), target.float(), reduction="none").mean(-1)


class L1Loss(Loss):
    """``mean(|p - t|)`` over the values of a token (SimMIM, Xie et al. 2021, section 3.4)."""

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        return F.l1_loss(prediction.float(), target.float(), reduction="none").mean(-1)


class SmoothL1Loss(Loss):
    """``d^2 / (2 beta)`` where ``d = |p - t| < beta``, else ``d - beta / 2``; mean over values.

    Args:
        beta: where the square turns into a line, above 0. I-JEPA's code: 1; data2vec: 2.

    Raises:
        ValueError: ``beta`` is not above 0.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        if beta <= 0:
            raise ValueError(f"`beta` must be above 0, but is {beta}.")
        self.beta = beta

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        return F.smooth_l1_loss(prediction.float(), target.float(), reduction="none", beta=self.beta).mean(-1)
