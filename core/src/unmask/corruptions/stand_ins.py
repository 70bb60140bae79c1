"""Stand-ins: hidden places are shown with other values (A2MIM, Li et al. 2022; GMML, Atito et al. 2022)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.parts import Corruption
from unmask.step import Shown
from unmask.structures import FILLED, KEPT, RANDOM, TOKEN, Mask, Tokens
from unmask.support.checks import at_least

_VALUES = ("zeros", "mean", "noise", "other")
"""Kinds that are values, in the order in which a draw finds them."""


class StandIns(Corruption):
    """How hidden places are shown, as shares that sum to 1; which it is is drawn for each place.

    Args:
        token: as the mask token.
        random: as a visible place of the sample, as `Corruption` does.
        keep: as they are.
        zeros: with all values 0.
        mean: with the mean of the sample's visible values, channel by channel.
        noise: with values drawn from a normal distribution.
        other: with values of the next sample of the batch: of the same place if that is visible there, else of one
            drawn from its visible places. So no hidden value is shown at all. It depends on the batch.
        channels: C, of values in which channels come last, for ``mean``.
        noise_mean: of the noise, in units of the tokens' values.
        noise_std: its standard deviation, at least 0.

    Raises:
        ValueError: a share outside [0, 1], a sum other than 1, another number out of range; when called, values that
            are ids or, for ``other``, packed.
    """

    def __init__(
        self,
        token: float = 0.0,
        random: float = 0.0,
        keep: float = 0.0,
        zeros: float = 0.0,
        mean: float = 0.0,
        noise: float = 0.0,
        other: float = 0.0,
        channels: int = 1,
        noise_mean: float = 0.0,
        noise_std: float = 1.0,
    ) -> None:
        values = zeros + mean + noise + other
        super().__init__(0.0, token, random, min(keep + values, 1.0) if min(zeros, mean, noise, other) >= 0 else -1.0)
        at_least(1, channels=channels)
        at_least(0, noise_std=noise_std)
        self.keep = keep
        self.zeros, self.mean, self.noise, self.other = zeros, mean, noise, other
        self.channels, self.noise_mean, self.noise_std = channels, noise_mean, noise_std

    def extra_repr(self) -> str:
        shares = {name: getattr(self, name) for name in ("token", "random", "keep", *_VALUES)}
        return ", ".join(f"{name}={share:g}" for name, share in shares.items() if share)

    def forward(self, tokens: Tokens, mask: Mask) -> Shown:
        if mask.parts is not None:
            parts = {name: self(tokens.part(name), part) for name, part in mask.parts.items()}
            joint = Mask.join({name: part.mask for name, part in parts.items()})
            shown = Tokens.join({name: part.tokens for name, part in parts.items()}) if tokens.parts else tokens
            return Shown(shown, replace(joint, draws=mask.draws))
        if not tokens.values.is_floating_point():
            raise ValueError("StandIns works on values, but these tokens are ids; use a Corruption of tokens.")
        draws = mask.streams().named("corruption").over(tokens)
        lot = draws.uniform()  # [B, N]
        show = torch.full_like(mask.hidden, KEPT, dtype=torch.int8)
        values, edge = tokens.values, 0.0
        for kind, code in (("token", TOKEN), ("random", RANDOM), *((name, FILLED) for name in _VALUES)):
            share = getattr(self, kind)
            if not share:
                continue
            here = mask.hidden & (lot >= edge) & (lot < edge + share + 1e-6)
            edge += share
            show[here] = code
            if code == FILLED:
                stand_in = getattr(self, f"_{kind}")(tokens, mask, draws)
                values = torch.where(here[..., None], stand_in.to(values.dtype), values)
        donor = self.donors(tokens, mask, draws) if self.random else None
        return Shown(replace(tokens, values=values), replace(mask, show=show, donor=donor))

    def _zeros(self, tokens: Tokens, mask: Mask, draws: Draws) -> Tensor:
        return torch.zeros_like(tokens.values)

    def _mean(self, tokens: Tokens, mask: Mask, draws: Draws) -> Tensor:
        """Of each channel over a sample's visible places."""
        visible = ~mask.hidden if mask.valid is None else ~mask.hidden & mask.valid
        of_tokens = tokens.values.float().unflatten(-1, (-1, self.channels)).mean(-2)  # [B, N, C]
        of_tokens = of_tokens.masked_fill(~visible[..., None], 0)
        repeats = tokens.values.shape[-1] // self.channels
        if tokens.offsets is None:
            mean = of_tokens.sum(1, keepdim=True) / visible.sum(1).clamp(min=1)[:, None, None]
            return mean.repeat(1, 1, repeats).expand(tokens.values.shape)
        owner, num_samples = tokens.owner, tokens.num_samples
        sums = of_tokens.new_zeros(num_samples, self.channels).index_add(0, owner, of_tokens)
        counts = visible.new_zeros(num_samples, dtype=torch.long).index_add(0, owner, visible.long())
        return (sums / counts.clamp(min=1)[:, None])[owner].repeat(1, repeats)

    def _noise(self, tokens: Tokens, mask: Mask, draws: Draws) -> Tensor:
        return self.noise_mean + self.noise_std * draws.normal(tokens.values.shape[-1])

    def _other(self, tokens: Tokens, mask: Mask, draws: Draws) -> Tensor:
        """Of the next sample, what is visible there."""
        if tokens.offsets is not None:
            raise ValueError("`other` must be 0 for packed tokens, whose samples have no places in common; pad them.")
        donor = self.donors(tokens, mask, draws)  # [B, N], each in its own sample
        place = torch.arange(donor.shape[1], device=donor.device).expand_as(donor)
        visible = ~mask.hidden if mask.valid is None else ~mask.hidden & mask.valid
        chosen = torch.where(visible, place, donor)
        values = tokens.values.gather(1, chosen[..., None].expand_as(tokens.values))
        return values.roll(-1, 0)
