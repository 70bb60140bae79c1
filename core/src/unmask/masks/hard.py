"""Hard mask: places that are predicted to be hard are hidden (HPM, Wang et al. 2023, arXiv:2304.05919)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.masks.random import lowest
from unmask.masks.scored import by_score
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Linear, Progress, Ratio, Schedule, at
from unmask.structures import Layout, Mask
from unmask.terms.loss_order import LossOrder


class HardMask(MaskSampler):
    """Of the places to hide, a share are those predicted to be hardest, and the rest are drawn evenly.

    A slowly following copy of encoder and `LossOrder`'s predictor sees the whole sample first and scores its places.

    Args:
        ratio: share to hide, in (0, 1), a schedule or a spread of it. MAE's.
        guided: share of the hidden places that are chosen by their score, in [0, 1], or a schedule of it. Paper: from
            0 to 0.5, over the epochs.
        momentum: m of the copy, ``copy = m * copy + (1 - m) * model`` after each optimiser step, in [0, 1], or a
            schedule of it. Paper: 0.999 to 0.9999 over 100 epochs.

    Raises:
        ValueError: a share outside its range, a model without a `LossOrder` among its terms, or packed tokens.
    """

    layouts = (Layout,)
    grid_sides = (1, 2, 3, 4)

    def __init__(
        self,
        ratio: Ratio = 0.75,
        guided: float | Schedule = Linear(start=0.0, end=0.5, by="epoch"),
        momentum: float | Schedule = Linear(start=0.999, end=0.9999, by="epoch", over=100),
    ) -> None:
        super().__init__(ratio)
        for name, value in (("guided", guided), ("momentum", momentum)):
            if not isinstance(value, Schedule) and not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be in [0, 1], but is {value}.")
        self.guided = guided
        self.momentum = momentum

    def start(self, model: Any) -> None:
        self.encoder = copy.deepcopy(model.encoder).requires_grad_(False).eval()
        self.scorer = copy.deepcopy(_order(model).predictor).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> HardMask:
        return super().train(False)

    @torch.no_grad()
    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        momentum = at(self.momentum, progress)
        for mine, theirs in ((self.encoder, model.encoder), (self.scorer, _order(model).predictor)):
            slow: list[Tensor] = list(mine.parameters())
            quick: list[Tensor] = list(theirs.parameters())
            torch._foreach_lerp_(slow, quick, 1 - momentum)
            for buffer, now in zip(mine.buffers(), theirs.buffers(), strict=True):
                buffer.copy_(now)
        return {"mask_momentum": momentum}

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        keys = draws.uniform(among.valid.shape[1])  # [B, N] in [0, 1)
        share = at(self.guided, among.progress)
        if not 0 <= share <= 1:
            raise ValueError(f"The scheduled `guided` must be in [0, 1], but is {share:g}.")
        if not share:
            return lowest(keys, among.counts, among.valid)
        return by_score(keys, self.scores(among), share, among)

    @torch.no_grad()
    def scores(self, among: Candidates) -> Tensor:
        """How hard each place is to predict ``[B, N]``, by what the copy makes of the whole sample."""
        tokens = among.tokens
        if tokens.offsets is not None:
            raise ValueError("HardMask works on dense tokens, but these are packed; pad them.")
        padded = tokens.valid is not None
        asked = Mask(
            torch.zeros_like(among.valid),
            predict=among.valid,
            valid=tokens.valid,
            num_hidden=None if padded else 0,
            num_predict=None if padded else among.valid.shape[1],
        )
        answers = self.scorer(self.encoder(tokens).codes, tokens.places, asked)
        means = answers.values.float().mean(-1)[..., None]  # [B, N, 1]
        return answers.asked.scatter(means, torch.zeros_like(among.valid, dtype=torch.float32)[..., None])[..., 0]


def _order(model: Any) -> LossOrder:
    for term in model.terms.values():
        if isinstance(term, LossOrder):
            return term
    raise ValueError("`terms` must have a `loss-order` for a `hard` mask, which hides by it, but have none.")
