"""Randomised quantisation: a mask over precision, for any modality (Wu et al. 2022, arXiv:2212.08663)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unmask.parts import Corruption
from unmask.step import Shown
from unmask.structures import KEPT, Mask, Tokens
from unmask.support.checks import at_least


class RandomQuantisation(Corruption):
    """In each channel of a sample, values of one bin are shown as one number: bins and numbers are drawn.

    ``num_bins - 1`` cut points are drawn evenly between the least and the greatest value of the channel; a bin is shown
    as a number drawn evenly inside it, not as its middle. Hidden places are shown so, with `EveryMask` all of them.

    Args:
        num_bins: at least 1 (released examples: 8).
        channels: C, of values in which channels come last.

    Raises:
        ValueError: a number out of range; when called, values that are ids, or packed.
    """

    def __init__(self, num_bins: int = 8, channels: int = 1) -> None:
        super().__init__(keep=1)
        at_least(1, num_bins=num_bins, channels=channels)
        self.num_bins, self.channels = num_bins, channels

    def extra_repr(self) -> str:
        return f"num_bins={self.num_bins}"

    def forward(self, tokens: Tokens, mask: Mask) -> Shown:
        if tokens.offsets is not None or tokens.parts is not None or not tokens.values.is_floating_point():
            raise ValueError("RandomQuantisation works on dense values of one part; use it on no ids, and pad samples.")
        values = tokens.values.float()
        if values.shape[-1] % self.channels:
            raise ValueError(
                f"`channels` must divide the {values.shape[-1]} values of a token, but is {self.channels}."
            )
        draws = mask.streams().named("quantised")
        by_channel = values.unflatten(-1, (-1, self.channels)).movedim(-1, 1)  # [B, C, N, V / C]
        flat = by_channel.flatten(2)  # [B, C, P]
        least, most = self._range(by_channel, tokens.valid)  # [B, C, 1]
        cuts = least + (most - least) * draws.uniform(self.channels, self.num_bins - 1).sort(-1).values
        edges = torch.cat([least, cuts, most], dim=-1)  # [B, C, n + 1]
        shown_as = edges[..., :-1] + edges.diff(dim=-1) * draws.uniform(self.channels, self.num_bins)
        bins = torch.searchsorted(cuts.contiguous(), flat.contiguous(), right=True)  # [B, C, P] in [0, n)
        shown = shown_as.gather(-1, bins).view(by_channel.shape).movedim(1, -1).flatten(-2)
        shown = torch.where(mask.hidden[..., None], shown.to(tokens.values.dtype), tokens.values)
        show = torch.full_like(mask.hidden, KEPT, dtype=torch.int8)
        return Shown(replace(tokens, values=shown), replace(mask, show=show))

    def _range(self, by_channel: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Least and greatest value of each channel over a sample's real places."""
        low = high = by_channel
        if valid is not None:
            padding = ~valid[:, None, :, None]
            low, high = low.masked_fill(padding, float("inf")), high.masked_fill(padding, float("-inf"))
        return low.flatten(2).amin(-1, keepdim=True), high.flatten(2).amax(-1, keepdim=True)
