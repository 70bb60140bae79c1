"""Budgets: one number of visible tokens for all parts together, with shares drawn for each sample (MultiMAE, 4M)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unmask import Candidates, Draws, Mask, MaskSampler, Progress, Tokens

Alpha = float | dict[str, float]


class BudgetMask(MaskSampler):
    """Every sample shows exactly ``num_visible`` tokens; a Dirichlet distribution says how many of each part.

    ``shares ~ Dirichlet(alpha)``; each part shows ``shares * num_visible`` of its tokens at random. Where rounding or a
    part that is full misses the total, tokens of all parts at random make up for it, or are hidden (MultiMAE).

    Args:
        num_visible: tokens that are shown, of all parts together, at least 1; with `floor` parts that are too short cap
            it. MultiMAE: 98 of 588. 4M: 128.
        alpha: of the Dirichlet distribution, above 0, for all parts or by their names. Great: even shares; small: one
            part at a time. MultiMAE: 1. A part of 1e-5 is practically never shown.
        num_asked: hidden tokens at which answers are asked, of all parts together, by shares of their own (4M: 128);
            None: all hidden ones.
        asked_alpha: of those shares.
        rounding: ``nearest``, then as above (MultiMAE), or ``floor``, the rest by drawing one part after another (4M).

    Raises:
        ValueError: a number out of range; when called, tokens without parts, packed ones, more visible tokens than a
            sample has, or an alpha that lacks a part.
    """

    joint = True

    def __init__(
        self,
        num_visible: int,
        alpha: Alpha = 1.0,
        num_asked: int | None = None,
        asked_alpha: Alpha = 1.0,
        rounding: Literal["nearest", "floor"] = "nearest",
    ) -> None:
        super().__init__()
        for name, number in (("num_visible", num_visible), ("num_asked", num_asked)):
            if number is not None and number < 1:
                raise ValueError(f"`{name}` must be at least 1, but is {number}.")
        for name, given in (("alpha", alpha), ("asked_alpha", asked_alpha)):
            for value in given.values() if isinstance(given, Mapping) else (given,):
                if not value > 0:
                    raise ValueError(f"`{name}` must be above 0, but is {value}.")
        if rounding not in ("nearest", "floor"):
            raise ValueError(f"`rounding` must be 'nearest' or 'floor', but is {rounding!r}.")
        self.num_visible, self.alpha = num_visible, alpha
        self.num_asked, self.asked_alpha = num_asked, asked_alpha
        self.rounding = rounding

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        """A joint mask; each part's count varies from sample to sample, their sum does not."""
        parts = tokens.parts
        if not parts or any(part.offsets is not None for part in parts.values()):
            raise ValueError("BudgetMask works on dense tokens of several parts, but these are not.")
        draws = draws or Draws.fresh(tokens.num_samples, tokens.device)
        real = {name: _real(part) for name, part in parts.items()}  # [B, N_p] each
        total = torch.stack([one.sum(1) for one in real.values()]).sum(0)  # [B]
        fewest = int(total.min())
        if self.num_visible >= fewest:
            raise ValueError(
                f"`num_visible` must be below {fewest}, the tokens of a sample, but is {self.num_visible}; nearest: "
                f"{max(fewest - 1, 1)}."
            )
        visible = self._drawn(real, self.num_visible, self.alpha, "alpha", draws.named("visible"))
        hidden = {name: real[name] & ~visible[name] for name in parts}
        asked = None
        if self.num_asked is not None:
            asked = self._drawn(hidden, self.num_asked, self.asked_alpha, "asked_alpha", draws.named("asked"))
        masks = {
            name: Mask(hidden[name], None if asked is None else asked[name], part.valid, draws=draws.named(name))
            for name, part in parts.items()
        }
        known = all(part.valid is None for part in parts.values())
        whole = Mask.join(masks)
        return replace(whole, num_hidden=int(total[0]) - self.num_visible if known else None, draws=draws)

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        """Not called: all parts are drawn at once."""
        raise NotImplementedError

    def _drawn(
        self, free: dict[str, Tensor], budget: int, alpha: Alpha, option: str, draws: Draws
    ) -> dict[str, Tensor]:
        """Exactly ``budget`` of the places that are ``free``, or all where there are fewer: by part ``[B, N_p]``."""
        room = torch.stack([one.sum(1) for one in free.values()], dim=1)  # [B, P]
        alphas = _alphas(alpha, option, list(free))
        shares = dirichlet(alphas, draws.named("shares"))  # [B, P]
        if self.rounding == "nearest":
            counts = (shares * budget).round().long()
        else:
            counts = self._floored(shares, room, budget, alphas, draws)
        kept, keys = [], []
        for i, (name, places) in enumerate(free.items()):
            noise = draws.named(f"rank {name}").uniform(places.shape[1]).masked_fill(~places, 2)  # [B, N_p]
            kept.append((noise.argsort(1).argsort(1) < counts[:, i : i + 1]) & places)
            keys.append(draws.named(f"fill {name}").uniform(places.shape[1]))
        # Those kept first, then others at random; the first of them all are taken.
        order = torch.cat(keys, dim=1) + (~torch.cat(kept, dim=1)).float()
        order = order.masked_fill(~torch.cat(list(free.values()), dim=1), 4)
        chosen = (order.argsort(1).argsort(1) < budget) & (order < 4)
        return dict(zip(free, chosen.split([one.shape[1] for one in free.values()], dim=1), strict=True))

    @staticmethod
    def _floored(shares: Tensor, room: Tensor, budget: int, alphas: list[float], draws: Draws) -> Tensor:
        """4M's counts: rounded down, and the rest given one by one to the part that a new draw favours."""
        counts = torch.minimum((shares * budget).floor().long(), room)
        for again in range(budget):
            left = torch.minimum(torch.full_like(room.sum(1), budget), room.sum(1)) - counts.sum(1)
            if not bool((left > 0).any()):
                break
            favour = dirichlet(alphas, draws.named(f"rest {again}")).masked_fill(counts >= room, -1)
            one = torch.nn.functional.one_hot(favour.argmax(1), counts.shape[1])
            counts = counts + one * (left > 0)[:, None]
        return counts


def dirichlet(alphas: list[float], draws: Draws) -> Tensor:
    """Shares ``[B, P]`` that sum to 1, from keyed uniform numbers by the inverse of the gamma distribution."""
    from scipy.special import gammaincinv, gammaln

    uniform = draws.uniform(len(alphas)).double().clamp(2.0**-25, 1 - 2.0**-25).cpu().numpy()  # [B, P]
    alpha = np.asarray(alphas)
    with np.errstate(divide="ignore"):
        exact = np.log(gammaincinv(alpha, uniform))
    small = (np.log(uniform) + gammaln(alpha + 1)) / alpha  # where the number itself is below what floats hold
    log = torch.from_numpy(np.where(exact > -600, exact, np.minimum(small, -600)))
    return log.softmax(1).float().to(draws.device)


def _alphas(alpha: Alpha, option: str, names: list[str]) -> list[float]:
    if not isinstance(alpha, Mapping):
        return [float(alpha)] * len(names)
    for name in names:
        if name not in alpha:
            raise ValueError(f"`{option}` must name each part, {', '.join(names)}, but names {', '.join(alpha)}.")
    return [float(alpha[name]) for name in names]


def _real(tokens: Tokens) -> Tensor:
    if tokens.valid is not None:
        return tokens.valid
    values: Any = tokens.values
    return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
