"""Mixup and CutMix on tokens: pairs of samples and their labels, mixed alike."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask import seeds
from unmask.structures import Grid, Tokens
from unmask.tools.features.labels import REGRESSION, Task


@dataclass(frozen=True)
class Mixing:
    """One share and one order of donors per batch, as in both papers' code.

    Mixup (Zhang et al. 2017, section 2): ``share * value + (1 - share) * donor``, share ~ Beta(alpha, alpha).
    CutMix (Yun et al. 2019, section 3.1): a block of ``1 - share`` of the grid is the donor's, its centre anywhere,
    cut off at the border; the label's share is that of the places kept. Blocks are made of whole tokens, so it
    is the same on every grid.

    Args:
        mixup: alpha, at least 0; 0: none.
        cutmix: alpha, at least 0; 0: none. Where both are given, each has half of the batches.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def check(self, tokens: Tokens, task: Task) -> None:
        """Refuse what cannot be mixed.

        Raises:
            ValueError: labels per token; ids, padded or packed tokens, or such with positions of their own;
                CutMix off a grid or on numbers.
        """
        for name, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            if not alpha:
                continue
            why = None
            if task.per_token:
                why = "labels per token"
            elif tokens.offsets is not None or tokens.valid is not None:
                why = "samples of several lengths"
            elif not tokens.values.is_floating_point():
                why = "tokens that are ids"
            elif tokens.positions is not None:
                why = "tokens that lie elsewhere in each sample"
            elif name == "cutmix" and not isinstance(tokens.layout, Grid):
                why = f"tokens on a {type(tokens.layout).__name__}, only on a Grid"
            elif name == "cutmix" and task.kind == REGRESSION:
                why = "regression, whose labels are no shares; use `mixup`"
            if why:
                raise ValueError(f"`{name}` must be 0, but is {alpha:g}: it does not work on {why}.")

    def __call__(self, tokens: Tokens, target: Tensor, known: Tensor, *key: int | str) -> tuple[Tokens, Tensor, Tensor]:
        """A mixed batch; the same key gives the same.

        Args:
            tokens: values ``[B, N, V]``.
            target: ``[B, C]`` shares of classes, or numbers.
            known: ``[B]`` or ``[B, C]`` bool, False where there is no label.
            key: of the random numbers.
        """
        if not self.mixup and not self.cutmix:
            return tokens, target, known
        rng = random.Random(seeds.mix(*key, "mixing"))
        order = torch.randperm(len(target), generator=seeds.generator("cpu", *key, "donors"))
        donor = order.to(target.device)
        cut = self.cutmix and (not self.mixup or rng.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        share = rng.betavariate(alpha, alpha)
        if cut:
            assert isinstance(tokens.layout, Grid)
            taken = _block(tokens.layout.shape, share, rng).to(target.device)  # [N]
            values = torch.where(taken[:, None], tokens.values[donor], tokens.values)
            share = 1 - taken.float().mean().item()
        else:
            values = share * tokens.values + (1 - share) * tokens.values[donor]
        return (
            replace(tokens, values=values),
            share * target + (1 - share) * target[donor],
            known & known[donor],
        )


def _block(shape: tuple[int, ...], share: float, rng: random.Random) -> Tensor:
    """The places of a block that covers ``1 - share`` of the grid, before it is cut off at the border: ``[N]`` bool."""
    taken = torch.zeros(shape, dtype=torch.bool)
    within = []
    for side in shape:
        length = round(side * (1 - share) ** (1 / len(shape)))
        start = rng.randrange(side) - length // 2
        within.append(slice(max(start, 0), min(start + length, side)))
    taken[tuple(within)] = True
    return taken.view(math.prod(shape))
