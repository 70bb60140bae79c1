"""Prototype loss: the prototypes that a teacher sees are told by sharpened scores (iBOT, Zhou et al. 2021,
arXiv:2111.07832, equation 2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Loss
from unmask.step import LossValue


class PrototypeLoss(Loss):
    """``-sum over prototypes of t * log softmax(p / temperature)`` per place; the mean over the asked places of each
    sample, then over all samples. Samples that nothing is asked of count 0, as in the released code.

    Args:
        temperature: of the student, above 0. iBOT and DINO: 0.1.

    Raises:
        ValueError: a temperature out of range.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature}.")
        self.temperature = temperature

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        return -(target * F.log_softmax(prediction.float() / self.temperature, -1)).sum(-1)

    def averaged(self, per_token: Tensor, valid: Tensor | None, weights: Tensor | None = None) -> LossValue:
        if weights is not None or per_token.ndim != 2:
            return super().averaged(per_token, valid, weights)
        if valid is None:
            means = per_token.sum(1) / max(per_token.shape[1], 1)
        else:
            per_token = per_token.masked_fill(~valid, 0)
            means = per_token.sum(1) / valid.sum(1).clamp(min=1)
        return LossValue(means.mean(), per_token.detach())
