"""Over all places: losses of hidden places, weighted by how sure the data is, meaned over all places (LXMERT)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask import Given, Loss, LossValue, Prediction
from unmask.api import at_least


class OverAllPlaces(Loss):
    """``scale * sum over asked places of confidence * loss / number of all places``, padding not counted.

    So a sample with much hidden counts more than one with little.

    Args:
        loss: at each asked place.
        key: of confidences ``[B, N]`` in the batch, what a detector made of them; None: all 1.
        scale: above 0. LXMERT: 1 / 0.15, the share of regions that are hidden.

    Raises:
        ValueError: a scale below 0; when called, a batch without confidences.
    """

    def __init__(self, loss: Loss, key: str | None = None, scale: float = 1 / 0.15) -> None:
        super().__init__()
        at_least(0, scale=scale)
        self.loss, self.key, self.scale = loss, key, scale

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        return self.loss.per_token(prediction, target, valid)

    def forward(self, prediction: Prediction, target: Any, given: Given | None = None) -> LossValue:
        """The sum over asked places, over the number of all."""
        assert given is not None, "places are counted in what a step gives"
        self.check(prediction, target)
        asked, mask = prediction.asked, given.shown.mask
        each = self.per_token(prediction.values, target, asked.valid)
        if self.key is not None:
            sure = given.batch.get(self.key) if isinstance(given.batch, dict) else None
            if not isinstance(sure, Tensor):
                raise ValueError(f"A batch must have `{self.key}`, the confidence in each region, but has none.")
            each = each * asked.gather(sure.float())
        if asked.valid is not None:
            each = each.masked_fill(~asked.valid, 0)
        count = mask.hidden.numel() if mask.valid is None else torch.clamp(mask.valid.sum(), min=1)
        return LossValue(self.scale * each.sum() / count, each.detach())


class DistributionLoss(Loss):
    """``KL(t || softmax(p)) = sum_c t_c (log t_c - log softmax(p)_c)`` in nats, ``t`` a detector's shares of classes.

    The target is ``[B, M, C]``, at least 0 with sum 1, as `unmask.targets.GivenTarget` has them of the data.
    """

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        right = target.float()
        return F.kl_div(prediction.float().log_softmax(-1), right, reduction="none").sum(-1)
