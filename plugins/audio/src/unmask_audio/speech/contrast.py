"""Contrast: tell a hidden frame's target from those of others (wav2vec 2.0, Baevski et al. 2020, equation 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask import Draws, Given, Loss, LossValue, Prediction
from unmask.api import at_least


class ContrastiveLoss(Loss):
    """``-log softmax(cos(p, q) / temperature)`` of a place's own q among those of ``num_negatives`` other places.

    Others are drawn from the asked places of the same sample, evenly and with replacement. One whose target is the
    same as the place's own is left out. Similarities are computed once for each pair of places, not for each draw.

    Args:
        num_negatives: at least 1. Paper: 100.
        temperature: above 0. Paper: 0.1.

    Raises:
        ValueError: a number outside its range.
    """

    def __init__(self, num_negatives: int = 100, temperature: float = 0.1) -> None:
        super().__init__()
        at_least(1, num_negatives=num_negatives)
        if temperature <= 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature}.")
        self.num_negatives = num_negatives
        self.temperature = temperature

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """Against others that are the same in every call; a step draws its own."""
        shape = prediction.shape[:-1]  # [B, (G,) M]: each group is on its own
        prediction, target = (x.flatten(0, -3) for x in (prediction, target))
        valid = None if valid is None else valid.flatten(0, -2)
        ids = _ids(target)
        draws = Draws.of(0, torch.arange(len(ids), device=ids.device))
        return self.against(prediction, target, ids, self.draw(ids.shape, valid, draws)).view(shape)

    def forward(self, prediction: Prediction, target: Tensor, given: Given | None = None) -> LossValue:
        """Against others that the samples' own streams draw, and ids that a quantiser has left, where there are any."""
        ids = None if given is None else given.shown.made.get("ids")
        if given is None or ids is None or prediction.values.ndim != 3:
            return super().forward(prediction, target, given)
        valid = prediction.asked.valid
        draws = given.shown.mask.streams().named("negatives")
        contrast = self.against(prediction.values, target, ids, self.draw(ids.shape, valid, draws))  # [B, M]
        return self.averaged(contrast, valid)

    def draw(
        self,
        shape: tuple[int, ...] | torch.Size,
        valid: Tensor | None,
        draws: Draws,
    ) -> Tensor:
        """Others for each asked place: indices ``[B, M, K]`` into the sample's asked places, never its own.

        A sample of one asked place has no other, and is given itself.

        Args:
            shape: ``[B, M]``.
            valid: ``[B, M]`` bool, False where a row was filled up at its end; None: nowhere.
            draws: ``[B]`` streams.
        """
        places = torch.arange(shape[1], device=draws.device)
        others = torch.full((shape[0],), shape[1], device=draws.device) if valid is None else valid.sum(1)
        others = (others - 1).clamp(min=0)[:, None, None]  # [B, 1, 1]
        draw = draws.uniform(shape[1], self.num_negatives)
        index = (draw * others).long().minimum((others - 1).clamp(min=0))  # the product may be rounded up
        return (index + (index >= places[:, None])).minimum(others)

    def against(self, prediction: Tensor, target: Tensor, ids: Tensor, negatives: Tensor) -> Tensor:
        """The loss of each asked place ``[B, M]``.

        Args:
            prediction: ``[B, M, T]``.
            target: ``[B, M, T]``.
            ids: ``[B, M]`` int64, equal where targets are.
            negatives: ``[B, M, K]``, as of `draw`.
        """
        with torch.autocast(prediction.device.type, enabled=False):  # bfloat16 is too coarse over a temperature
            answer, truth = (F.normalize(x.float(), dim=-1) for x in (prediction, target))
            scores = answer @ truth.mT / self.temperature  # [B, M, M]
        others = scores.gather(2, negatives)  # [B, M, K]
        theirs = ids.gather(1, negatives.flatten(1)).view_as(negatives)
        others = others.masked_fill(theirs == ids[..., None], float("-inf"))
        own = scores.diagonal(dim1=1, dim2=2)  # [B, M]
        return torch.cat([own[..., None], others], dim=-1).logsumexp(-1) - own


def _ids(target: Tensor) -> Tensor:
    """Numbers ``[B, M]`` that are equal where targets ``[B, M, T]`` are."""
    return target.flatten(0, 1).unique(dim=0, return_inverse=True)[1].view(target.shape[:2])
