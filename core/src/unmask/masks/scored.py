"""Scored mask: places are hidden by a score (AttMask, Kakogeorgiou et al. 2022, arXiv:2203.12719)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.masks.random import lowest
from unmask.masks.scorers import Scorer
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Ratio, Schedule, at
from unmask.structures import Layout, Mask
from unmask.support.checks import inside


class ScoredMask(MaskSampler):
    """Of the places to hide, a share are those with the highest scores, and the rest are drawn evenly.

    Args:
        scorer: says a number for each place.
        ratio: share to hide, in (0, 1), a schedule or a spread of it. AttMask: evenly in [0.1, 0.5].
        guided: share of the hidden places that are chosen by their score, in [0, 1], or a schedule of it.
        order: ``high`` hides the highest scores; ``low`` the lowest, so that the highest stay visible.
        sampling: ``top`` takes the highest scores; ``multinomial`` draws places without replacement with chances
            that are as the scores, which must be at least 0: those that are hidden for ``high``, those that stay
            visible for ``low`` (MaskAlign, Xue et al. 2022, section 3.2). It must guide the whole mask.
        hints: share of all places that stay visible though their scores are among the highest, in [0, 1).
            AttMask-Hint (section 3.3).
        hint_pool: share of all places, those of the highest scores, that hints are drawn from, in (0, 1]. AttMask: 0.1.
        rounding: how many places a ratio means: ``up`` is N - floor(N * (1 - ratio)), as all masks have it, ``down`` is
            floor(N * ratio), as AttMask's code has it, but at least one.
        chance: of a sample that anything of it is hidden, in (0, 1]. iBOT and AttMask: 0.5.

    Raises:
        ValueError: a number or word out of range; ``hints`` of a mask that does not hide the highest scores;
            ``multinomial`` of one that is guided in part.
    """

    layouts = (Layout,)
    grid_sides = (1, 2, 3, 4)

    def __init__(
        self,
        scorer: Scorer,
        ratio: Ratio = 0.75,
        guided: float | Schedule = 1.0,
        order: Literal["high", "low"] = "high",
        sampling: Literal["top", "multinomial"] = "top",
        hints: float = 0.0,
        hint_pool: float = 0.1,
        rounding: Literal["up", "down"] = "up",
        chance: float = 1.0,
    ) -> None:
        super().__init__(ratio)
        for name, word, words in (
            ("order", order, ("high", "low")),
            ("sampling", sampling, ("top", "multinomial")),
            ("rounding", rounding, ("up", "down")),
        ):
            if word not in words:
                raise ValueError(f"`{name}` must be one of {', '.join(words)}, but is {word!r}.")
        if not isinstance(guided, Schedule):
            inside("[0, 1]", guided=guided)
        inside("[0, 1)", hints=hints)
        inside("(0, 1]", hint_pool=hint_pool, chance=chance)
        if hints and order == "low":
            raise ValueError("`hints` must be 0 for `order` 'low', which hides no high scores; nearest: order 'high'.")
        if sampling == "multinomial" and guided != 1:
            raise ValueError(f"`guided` must be 1 for `sampling` 'multinomial', but is {guided}; nearest: 1.")
        self.scorer = scorer
        self.guided = guided
        self.order = order
        self.sampling = sampling
        self.hints, self.hint_pool = hints, hint_pool
        self.rounding = rounding
        self.chance = chance

    def count(self, num_tokens: int, layout: Layout, ratio: float | None) -> int:
        most = super().count(num_tokens, layout, ratio)
        if self.rounding == "up" or ratio is None:
            return most
        return min(max(math.floor(num_tokens * ratio + 1e-9), 1), most)

    def sample(self, among: Candidates, draws: Draws) -> Tensor | Mask:
        keys = draws.uniform(among.valid.shape[1])  # [B, N] in [0, 1)
        guided = at(self.guided, among.progress)
        if not 0 <= guided <= 1:
            raise ValueError(f"The scheduled `guided` must be in [0, 1], but is {guided:g}.")
        if not guided:
            hidden = lowest(keys, among.counts, among.valid)
        else:
            with torch.no_grad():
                scores = self.scorer(among).float()  # [B, N]
            if self.sampling == "multinomial":
                lots = draws.named("lots").gumbel(among.valid.shape[1])
                scores = scores.clamp(min=0).log().clamp(min=-1e4) + lots  # its order is that of the draws
            high = scores if self.order == "high" else -scores
            hidden = by_score(keys, high, guided, among)
            if self.hints:
                hidden = self._hinted(hidden, high, among, draws.named("hints"))
        if self.chance < 1:
            hidden = hidden & (draws.named("chance").uniform() < self.chance)[:, None]
        return hidden if self.chance == 1 and not self.hints else Mask(hidden)

    def _hinted(self, hidden: Tensor, scores: Tensor, among: Candidates, draws: Draws) -> Tensor:
        """The same, but some of the highest scores stay visible."""
        lengths = among.valid.sum(1)
        pool = (lengths * self.hint_pool).long().clamp(min=1)
        count = torch.minimum((lengths * self.hints).long(), torch.minimum(pool, among.counts - 1))
        highest = lowest(-scores, pool, among.valid)
        return hidden & ~lowest(draws.uniform(hidden.shape[1]) + ~highest, count, among.valid)


def by_score(keys: Tensor, scores: Tensor, guided: float, among: Candidates) -> Tensor:
    """Of the places to hide, a ``guided`` share are those of the highest scores; the rest have the lowest keys.

    Args:
        keys: ``[B, N]`` in [0, 1).
        scores: ``[B, N]``.
        guided: in [0, 1], rounded down to whole places.
        among: what may be hidden, and how many of it.

    Returns:
        ``[B, N]`` bool.
    """
    highest = lowest(-scores, (among.counts * guided).long(), among.valid)
    return lowest(keys - 2 * highest, among.counts, among.valid)


def shares_of(counts: Tensor, num_hidden: Tensor) -> Tensor:
    """Places to hide in each group, in equal proportion, and as many in all as ``num_hidden``.

    Args:
        counts: places in each group ``[B, G]``.
        num_hidden: ``[B]``, at most all of them.

    Returns:
        ``[B, G]`` int64: ``floor(count * num_hidden / sum)``, and one more where the remainder is largest.
    """
    total = counts.sum(1, keepdim=True).clamp(min=1)
    exact = counts * num_hidden[:, None]
    whole = exact // total
    left = num_hidden - whole.sum(1)  # [B], fewer than there are groups
    rank = (exact % total).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return whole + (rank < left[:, None])
