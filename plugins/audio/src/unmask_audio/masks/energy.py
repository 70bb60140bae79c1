"""Energy mask: what sounds is hidden more often than silence (speech-level masking, Zhang et al. 2022)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unmask import Candidates, Draws, Grid, MaskSampler, Ratio, Sequence, Tokens
from unmask.masks import lowest

QUIET, LOUD = 0.1, 0.9
"""Quantiles of a sample's levels; a time sounds when it is above the middle between them."""


class EnergyMask(MaskSampler):
    """Draws places one after the other, those of times that sound ``preference`` times as likely as silent ones.

    The level of a time is the mean of its log-spectrum, over all frequencies, or the logarithm of its mean square in a
    wave; it sounds when that is above the middle between the sample's 10% and 90% quantiles. When all times of a sample
    are alike nothing is, and every place is as likely.

    Args:
        ratio: share of the places to hide, in (0, 1), a schedule or a spread of it.
        preference: how many times as likely, at least 1, which is no preference.
        tokens: what the numbers of a token are: those of a log-``spectrum``, or samples of a ``wave``.

    Differs from the paper (arXiv:2210.13805, section III), which asks a voice activity detector, in the detector.

    Raises:
        ValueError: an argument outside its range, a layout that is neither a sequence nor a 2-D grid, or tokens that
            are ids.
    """

    layouts = (Sequence, Grid)
    grid_sides = (2,)

    def __init__(
        self,
        ratio: Ratio = 0.8,
        preference: float = 4.0,
        tokens: Literal["spectrum", "wave"] = "spectrum",
    ) -> None:
        super().__init__(ratio)
        if not preference >= 1:
            raise ValueError(f"`preference` must be at least 1, but is {preference}.")
        if tokens not in ("spectrum", "wave"):
            raise ValueError(f"`tokens` must be 'spectrum' or 'wave', but is {tokens!r}.")
        self.preference = preference
        self.tokens = tokens

    def level(self, tokens: Tokens) -> Tensor:
        """How loud each token is: ``[B, N]``, packed ``[T]``."""
        values = tokens.values
        if not values.is_floating_point() or values.ndim != (3 if tokens.offsets is None else 2):
            raise ValueError(
                f"EnergyMask reads how loud tokens are from their values, [B, N, V] numbers, but these are "
                f"{list(values.shape)} {values.dtype}."
            )
        values = values.float()
        power = values.square().mean(-1) if self.tokens == "wave" else None
        return values.mean(-1) if power is None else power.clamp(min=1e-10).log()

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        valid, level = among.valid, among.dense(self.level(among.tokens))  # [B, N]
        if isinstance(among.layout, Grid):  # of all frequencies of a time
            sides = among.layout.shape
            real = valid.unflatten(1, sides)
            mean = (level.unflatten(1, sides) * real).sum(2) / real.sum(2).clamp(min=1)
            level = mean[:, :, None].expand(-1, *sides).flatten(1)
        weight = torch.where(sounding(level, valid), self.preference, 1.0)
        draw = draws.uniform(valid.shape[1])
        # Places in the order of waiting times at these rates: drawn without replacement (Efraimidis & Spirakis 2006).
        return lowest(-torch.log1p(-draw) / weight, among.counts, valid)


def sounding(level: Tensor, valid: Tensor) -> Tensor:
    """Places ``[B, N]`` whose level is above the middle between a sample's quiet and loud ones."""
    known = level.masked_fill(~valid, float("nan"))
    bounds = torch.nanquantile(known, known.new_tensor([QUIET, LOUD]), dim=1)  # [2, B]
    return level > bounds.mean(0)[:, None]
