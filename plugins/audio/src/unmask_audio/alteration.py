"""Alteration of frames along time, frequency and magnitude (TERA, Liu et al. 2021, arXiv:2007.06028, section III)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unmask import KEPT, Corruption, Draws, Mask, Shown, Tokens
from unmask.api import inside


class Alteration(Corruption):
    """Frames as the encoder is shown them; each of the three alterations is drawn for every sample by itself.

    Time: all hidden frames are zero (which is the mean, of normalised frames), or replaced by neighbouring visible
    frames from a random one on, or kept. Frequency: a band of w features is zero in all frames, w drawn evenly from 0
    to ``frequency_ratio`` of them, and its place evenly. Magnitude: Gaussian noise is added to all.

    Args:
        zero: chance that hidden frames are zero. Section III, as are the next two; they sum to 1.
        random: that others stand in for them.
        keep: that they are shown.
        frequency_ratio: greatest share of the features in a band, in [0, 1). Section III.
        noise_chance: in [0, 1]. Section III.
        noise_std: of the noise, in the units of the frames, at least 0; as in the released code.
        num_features: of a frame, where a token is several frames one after the other; None: a token is one.

    Differs from the paper in that stand-ins are visible frames, so that none of a hidden frame's values is shown
    unless all are kept, and in that one is taken after the other from a single random start.

    Raises:
        ValueError: a number outside its range; when called, tokens that are no multiple of ``num_features`` wide.
    """

    def __init__(
        self,
        zero: float = 0.8,
        random: float = 0.1,
        keep: float = 0.1,
        frequency_ratio: float = 0.2,
        noise_chance: float = 0.15,
        noise_std: float = 0.2,
        num_features: int | None = None,
    ) -> None:
        inside("[0, 1]", zero=zero, random=random, keep=keep, noise_chance=noise_chance)
        if abs(zero + random + keep - 1) > 1e-6:
            raise ValueError(f"`zero`, `random` and `keep` must sum to 1, but sum to {zero + random + keep:g}.")
        inside("[0, 1)", frequency_ratio=frequency_ratio)
        if not noise_std >= 0:
            raise ValueError(f"`noise_std` must be at least 0, but is {noise_std}.")
        if num_features is not None and num_features < 1:
            raise ValueError(f"`num_features` must be at least 1, but is {num_features}.")
        super().__init__(token=zero, random=random, keep=keep)  # who shows frames without altering them reads these
        self.zero = zero
        self.frequency_ratio = frequency_ratio
        self.noise_chance = noise_chance
        self.noise_std = noise_std
        self.num_features = num_features

    def forward(self, tokens: Tokens, mask: Mask) -> Shown:
        """Altered frames, all of which the encoder is given as they are then."""
        values = self.altered(tokens.values, mask, mask.streams().named("alteration"))
        shown = torch.full_like(mask.hidden, KEPT, dtype=torch.int8)
        return Shown(replace(tokens, values=values), replace(mask, show=shown))

    @torch.no_grad()
    def altered(self, values: Tensor, mask: Mask, draws: Draws) -> Tensor:
        """Altered frames ``[B, N, V]`` of ``values`` ``[B, N, V]``."""
        values = self._time(values, mask, draws)
        values = self._frequency(values, draws)
        return self._magnitude(values, draws)

    def _time(self, values: Tensor, mask: Mask, draws: Draws) -> Tensor:
        way, start = draws.uniform(2, 1).unbind(1)  # [B, 1]
        others = values.gather(1, _stand_ins(mask, start)[..., None].expand_as(values))
        # Zeros and others are chosen, not multiplied: a hidden value that is not a number stays hidden.
        shown = others.where((way >= self.zero)[..., None], 0)
        altered = mask.hidden & (way < self.zero + self.random)  # [B, N]
        return shown.where(altered[..., None], values)

    def _frequency(self, values: Tensor, draws: Draws) -> Tensor:
        width = self.num_features or values.shape[-1]
        if values.shape[-1] % width:
            raise ValueError(f"`num_features` must divide {values.shape[-1]}, the width of a token, but is {width}.")
        band = draws.integers(int(width * self.frequency_ratio) + 1, 1)  # [B, 1], features in the band
        start = (draws.uniform(1) * (width - band + 1)).long()
        at = torch.arange(width, device=values.device)
        inside = (at >= start) & (at < start + band)  # [B, F]
        return values.masked_fill(inside.repeat(1, values.shape[-1] // width)[:, None], 0)

    def _magnitude(self, values: Tensor, draws: Draws) -> Tensor:
        noise = draws.normal(*values.shape[1:]).to(values.dtype)
        return torch.where(draws.uniform(1, 1) < self.noise_chance, values + self.noise_std * noise, values)


def _stand_ins(mask: Mask, draw: Tensor) -> Tensor:
    """For each hidden frame a visible one ``[B, N]``: in order, from a random one on, and round again."""
    visible = ~mask.hidden if mask.valid is None else ~mask.hidden & mask.valid
    order = visible.byte().argsort(dim=1, descending=True, stable=True)  # visible frames first
    num_visible = visible.sum(1, keepdim=True)
    turn = (mask.hidden.cumsum(1) - 1).clamp(min=0) + (draw * num_visible).long()
    return order.gather(1, turn % num_visible)
