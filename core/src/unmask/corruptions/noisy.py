"""Noisy values: noise is added, then a share of the values is set to 0 (Chen et al. 2023, arXiv:2303.13132)."""

from __future__ import annotations

from dataclasses import replace

import torch

from unmask.parts import Corruption
from unmask.schedules import Spread
from unmask.step import Shown
from unmask.structures import KEPT, Mask, Tokens
from unmask.support.checks import at_least


class NoisyValues(Corruption):
    """Hidden places are shown with noise, and some of their values as 0; with `EveryMask` all places are.

    ``shown = keep * (value + noise)``, noise normal; ``keep`` is 0 for a drawn share of a sample's values, of which
    those of one pixel, its channels, fall together.

    Args:
        noise_std: standard deviation of the noise in units of the tokens' values, at least 0.
        zeros: share of the values that are set to 0, in [0, 1), or a spread that it is drawn from for each sample.
        channels: C, of values in which channels come last.
        in_evaluation: whether values are set to 0 outside training as well; noise always is added.

    Raises:
        ValueError: a number out of range; when called, values that are ids, or not of so many channels.
    """

    def __init__(
        self, noise_std: float = 0.0, zeros: float | Spread = 0.0, channels: int = 1, in_evaluation: bool = True
    ) -> None:
        super().__init__(keep=1)
        at_least(0, noise_std=noise_std)
        at_least(1, channels=channels)
        if not isinstance(zeros, Spread) and not 0 <= zeros < 1:
            raise ValueError(f"`zeros` must be in [0, 1), but is {zeros}.")
        self.noise_std, self.zeros, self.channels, self.in_evaluation = noise_std, zeros, channels, in_evaluation

    def extra_repr(self) -> str:
        return f"noise_std={self.noise_std:g}, zeros={self.zeros}"

    def forward(self, tokens: Tokens, mask: Mask) -> Shown:
        values = tokens.values
        if (
            tokens.parts is not None
            or mask.parts is not None
            or not values.is_floating_point()
            or values.shape[-1] % self.channels
        ):
            raise ValueError(
                f"NoisyValues works on values of one part and one mask of them, a multiple of {self.channels} "
                "`channels` of each token."
            )
        streams = mask.streams().named("noisy")
        draws = streams.over(tokens)
        shown = values + self.noise_std * draws.normal(values.shape[-1]).to(values.dtype) if self.noise_std else values
        if self.zeros and (self.training or self.in_evaluation):
            share = (
                self.zeros(streams.named("share").uniform()).float()
                if isinstance(self.zeros, Spread)
                else torch.full((tokens.num_samples,), self.zeros, device=values.device)
            )  # [B]
            share = share[tokens.owner] if tokens.offsets is not None else share[:, None].expand(values.shape[:2])
            pixels = draws.uniform(values.shape[-1] // self.channels)  # [B, N, V / C]
            kept = (pixels >= share[..., None]).repeat_interleave(self.channels, -1)
            shown = shown * kept
        shown = torch.where(mask.hidden[..., None], shown, values)
        show = torch.full_like(mask.hidden, KEPT, dtype=torch.int8)
        return Shown(replace(tokens, values=shown), replace(mask, show=show))
