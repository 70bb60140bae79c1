"""Alteration of frames along time, frequency and magnitude (TERA, Liu et al. 2021, arXiv:2007.06028, section III)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask import Mask
from unmask.api import inside


@dataclass(frozen=True)
class Alteration:
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
        ValueError: a number outside its range; in the call, tokens that are no multiple of ``num_features`` wide.
    """

    zero: float = 0.8
    random: float = 0.1
    keep: float = 0.1
    frequency_ratio: float = 0.2
    noise_chance: float = 0.15
    noise_std: float = 0.2
    num_features: int | None = None

    def __post_init__(self) -> None:
        for name in ("zero", "random", "keep", "noise_chance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be in [0, 1], but is {getattr(self, name)}.")
        total = self.zero + self.random + self.keep
        if abs(total - 1) > 1e-6:
            raise ValueError(f"`zero`, `random` and `keep` must sum to 1, but sum to {total:g}.")
        inside("[0, 1)", frequency_ratio=self.frequency_ratio)
        if not self.noise_std >= 0:
            raise ValueError(f"`noise_std` must be at least 0, but is {self.noise_std}.")
        if self.num_features is not None and self.num_features < 1:
            raise ValueError(f"`num_features` must be at least 1, but is {self.num_features}.")

    def __call__(self, values: Tensor, mask: Mask, generator: torch.Generator | None = None) -> Tensor:
        """Altered frames ``[B, N, V]`` of ``values`` ``[B, N, V]``."""
        values = self._time(values, mask, generator)
        values = self._frequency(values, generator)
        return self._magnitude(values, generator)

    def _time(self, values: Tensor, mask: Mask, generator: torch.Generator | None) -> Tensor:
        draw = torch.rand(2, len(values), 1, generator=generator, device=values.device)
        others = values.gather(1, _stand_ins(mask, draw[1])[..., None].expand_as(values))
        # Zeros and others are chosen, not multiplied: a hidden value that is not a number stays hidden.
        shown = others.where((draw[0] >= self.zero)[..., None], 0)
        altered = mask.hidden & (draw[0] < self.zero + self.random)  # [B, N]
        return shown.where(altered[..., None], values)

    def _frequency(self, values: Tensor, generator: torch.Generator | None) -> Tensor:
        width = self.num_features or values.shape[-1]
        if values.shape[-1] % width:
            raise ValueError(f"`num_features` must divide {values.shape[-1]}, the width of a token, but is {width}.")
        draw = torch.rand(2, len(values), 1, generator=generator, device=values.device)
        band = (draw[0] * (int(width * self.frequency_ratio) + 1)).long()  # [B, 1], features in the band
        start = (draw[1] * (width - band + 1)).long()
        at = torch.arange(width, device=values.device)
        inside = (at >= start) & (at < start + band)  # [B, F]
        return values.masked_fill(inside.repeat(1, values.shape[-1] // width)[:, None], 0)

    def _magnitude(self, values: Tensor, generator: torch.Generator | None) -> Tensor:
        draw = torch.rand(len(values), 1, 1, generator=generator, device=values.device)
        noise = torch.randn(values.shape, generator=generator, device=values.device, dtype=values.dtype)
        return torch.where(draw < self.noise_chance, values + self.noise_std * noise, values)


def _stand_ins(mask: Mask, draw: Tensor) -> Tensor:
    """For each hidden frame a visible one ``[B, N]``: in order, from a random one on, and round again."""
    visible = ~mask.hidden if mask.valid is None else ~mask.hidden & mask.valid
    order = visible.byte().argsort(dim=1, descending=True, stable=True)  # visible frames first
    num_visible = visible.sum(1, keepdim=True)
    turn = (mask.hidden.cumsum(1) - 1).clamp(min=0) + (draw * num_visible).long()
    return order.gather(1, turn % num_visible)
