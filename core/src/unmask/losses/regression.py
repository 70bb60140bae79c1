"""Regression losses: squared, absolute and smooth absolute error, averaged over a token's values."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Loss
from unmask.support.checks import at_least


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


class FocalL1Loss(Loss):
    """``mean of d (2 sigmoid(alpha d) - 1)^gamma`` with ``d = |p - t|``, over the values of a token: large errors count
    more (Yang et al. 2021, arXiv:2102.09554, section 4.1).

    Args:
        alpha: how soon an error counts in full, at least 0. A2MIM on CNNs: 0.2.
        gamma: at least 0; 0: the absolute error.

    Raises:
        ValueError: a number below 0.
    """

    def __init__(self, alpha: float = 0.2, gamma: float = 1.0) -> None:
        super().__init__()
        at_least(0, alpha=alpha, gamma=gamma)
        self.alpha, self.gamma = alpha, gamma

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        distance = (prediction.float() - target.float()).abs()
        if not self.gamma:
            return distance.mean(-1)
        return (distance * (2 * (self.alpha * distance).sigmoid() - 1) ** self.gamma).mean(-1)
