"""Morphed loss: answers and targets are compared as means over groups of alike tokens (DTM, Kim et al. 2023,
arXiv:2401.00254)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.draws import Draws
from unmask.losses.regression import SmoothL1Loss
from unmask.parts import Loss
from unmask.step import Given, LossValue
from unmask.structures import Prediction
from unmask.support.checks import at_least


class MorphedLoss(Loss):
    """``mean over morphings of loss(mean of the group's answers, mean of the group's targets)`` at each asked place.

    A morphing merges a random number of targets, in [0, M], in a random number of rounds: in each, every other token
    that is left joins the one among the rest that its direction is nearest to, the most alike pairs first. The first
    token never joins another.

    Args:
        loss: compares the means. Paper: smooth L1.
        num_morphings: at least 1. Paper: 2.
        max_rounds: at least 1; rounds are drawn in [1, max_rounds]. Paper: 14.
        max_merges: at most so many tokens are merged; None: all asked ones. 0: the plain loss.

    Raises:
        ValueError: a number outside its range; when called, answers in groups or of packed tokens.
    """

    def __init__(
        self,
        loss: Loss = SmoothL1Loss(beta=2.0),
        num_morphings: int = 2,
        max_rounds: int = 14,
        max_merges: int | None = None,
    ) -> None:
        super().__init__()
        at_least(1, num_morphings=num_morphings, max_rounds=max_rounds)
        at_least(0, max_merges=max_merges)
        self.loss = loss
        self.num_morphings, self.max_rounds, self.max_merges = num_morphings, max_rounds, max_merges

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """Without groups, the loss itself."""
        return self.loss.per_token(prediction, target, valid)

    def forward(self, prediction: Prediction, target: Tensor, given: Given | None = None) -> LossValue:
        answers, valid = prediction.values, prediction.asked.valid
        if answers.shape != target.shape or answers.ndim != 3:
            return super().forward(prediction, target, given)  # which refuses another width
        fixed = Draws.of(0, torch.arange(len(answers), device=answers.device))
        streams = (fixed if given is None else given.shown.mask.streams()).named("morph")
        losses = []
        for number in range(self.num_morphings):
            owner = self._groups(target.float(), valid, streams.named(str(number)))  # [B, M]
            answer, right = (_averaged(one.float(), owner, valid) for one in (answers, target))
            losses.append(self.loss.per_token(answer, right, valid))
        return self.averaged(torch.stack(losses).mean(0), valid, prediction.weights)

    def _groups(self, target: Tensor, valid: Tensor | None, draws: Draws) -> Tensor:
        real = torch.ones_like(target[..., 0], dtype=torch.bool) if valid is None else valid
        most = real.sum(1) if self.max_merges is None else real.sum(1).clamp(max=self.max_merges)
        merges, rounds = draws.integers(most + 1), 1 + draws.integers(self.max_rounds)
        return merged(target, real, merges, rounds, self.max_rounds)


def merged(tokens: Tensor, real: Tensor, merges: Tensor, rounds: Tensor, max_rounds: int) -> Tensor:
    """Which token each belongs to ``[B, M]`` int64, after bipartite matching (ToMe, Bolya et al. 2022).

    Args:
        tokens: ``[B, M, T]``.
        real: ``[B, M]`` bool, False at fillers, which stay by themselves.
        merges: ``[B]``, how many tokens join others, spread evenly over the rounds; at most half of them in each.
        rounds: ``[B]``, at least 1.
        max_rounds: no sample has more.
    """
    batch, count, _ = tokens.shape
    owner = torch.arange(count, device=tokens.device).expand(batch, -1).clone()
    left, means, size = real.clone(), tokens.clone(), real.to(tokens.dtype)
    each = (merges + rounds - 1) // rounds
    for number in range(max_rounds):
        due = torch.where(number < rounds, torch.minimum(each, merges - number * each).clamp(min=0), 0)  # [B]
        rank = left.cumsum(1) - 1
        source, target = left & (rank % 2 == 1), left & (rank % 2 == 0)
        directions = F.normalize(means, dim=-1)
        alike = directions @ directions.mT  # [B, M, M]
        alike = alike.masked_fill(~target[:, None, :], -2)
        best, where = alike.max(-1)  # [B, M]
        order = best.masked_fill(~source, -3).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        joins = source & (order < due[:, None])
        goes = torch.where(joins, where, torch.arange(count, device=tokens.device))
        moved = (size * joins)[..., None] * means
        total = (size[..., None] * means).scatter_add(1, goes[..., None].expand_as(means), moved)
        size = size.scatter_add(1, goes, size * joins)
        means = total / size.clamp(min=1)[..., None]
        left = left & ~joins
        owner = goes.gather(1, owner)
    return owner


def _averaged(values: Tensor, owner: Tensor, valid: Tensor | None) -> Tensor:
    """Each value replaced by the mean over its group."""
    counted = torch.ones_like(values[..., :1]) if valid is None else valid[..., None].to(values.dtype)
    index = owner[..., None]
    total = torch.zeros_like(values).scatter_add(1, index.expand_as(values), values * counted)
    size = torch.zeros_like(counted).scatter_add(1, index, counted)
    return (total / size.clamp(min=1)).gather(1, index.expand_as(values))
