"""Depth as patches, standardised by the middle of each map's values (MultiMAE, Bachmann et al. 2022, section 3.4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask import Grid, Tokenizer, Tokens
from unmask.api import at_least, inside
from unmask.nn import assembled, cut

MOST = 20.0
"""Deviations from the mean at which values are cut."""
LOW, HIGH = -2.5, 2.5
"""Standard units that are drawn black and white."""


class DepthTokenizer(Tokenizer):
    """``[B, C, H, W]`` in any unit to ``[B, N, p * p * C]``: ``(x - mean) / sqrt(variance + 1e-6)``.

    Mean and variance are those of each map's values without the least and the greatest tenth, so that a few pixels of
    sky or of a broken sensor do not set the scale.

    Differs from the released code in that values are cut at 20 deviations: where nearly all of a map is at one depth,
    the middle ones hardly vary, and one such map in a thousand would decide the loss.

    Args:
        patch_size: p, side of a patch in pixels; must divide both sides of the maps.
        channels: C.
        key: of the batch.
        trim: share of the values left out at either end, in [0, 0.5). Paper: 0.1.

    Raises:
        ValueError: a number out of range; when called, maps of other channels or sides.
    """

    def __init__(self, patch_size: int = 16, channels: int = 1, key: str = "depth", trim: float = 0.1) -> None:
        super().__init__()
        at_least(1, patch_size=patch_size, channels=channels)
        inside("[0, 0.5)", trim=trim)
        self.patch_size, self.channels, self.key, self.trim = patch_size, channels, key, trim

    def forward(self, batch: Any) -> Tokens:
        maps: Tensor = batch[self.key].float()
        layout, count = grid_of(maps, self.patch_size, self.channels)
        middle = maps.flatten(1).sort(1).values  # [B, C * H * W]
        left_out = int(middle.shape[1] * self.trim)
        middle = middle[:, left_out : middle.shape[1] - left_out]
        mean, variance = middle.mean(1), middle.var(1, unbiased=False)
        scaled = (maps - mean.view(-1, 1, 1, 1)) / (variance.view(-1, 1, 1, 1) + 1e-6).sqrt()
        return Tokens(cut(scaled.clamp(-MOST, MOST), layout, count), layout)

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        field = assembled(tokens.values.float(), tokens.layout, self.channels)[:, :1]  # [B, 1, H, W]
        grey = ((field - LOW) / (HIGH - LOW)).clamp(0, 1).expand(-1, 3, -1, -1)
        return drawn(grey, tokens, hidden)


def grid_of(maps: Tensor, patch_size: int, channels: int) -> tuple[Grid, int]:
    """The grid that patches of maps ``[B, C, H, W]`` lie on, and how many there are.

    Raises:
        ValueError: maps of other channels, or whose sides are no multiples of ``patch_size``.
    """
    if maps.shape[1] != channels:
        raise ValueError(f"`channels` must be {maps.shape[1]}, as in the maps, but is {channels}.")
    height, width = maps.shape[-2:]
    if height % patch_size or width % patch_size:
        raise ValueError(f"Sides of maps must be multiples of `patch_size` {patch_size}, but are {height}x{width}.")
    shape = (height // patch_size, width // patch_size)
    return Grid(shape), shape[0] * shape[1]


def drawn(pixels: Tensor, tokens: Tokens, hidden: Tensor | None) -> list[np.ndarray]:
    """Pictures of pixels ``[B, 3, H, W]`` in [0, 1], hidden places in grey."""
    if hidden is not None:
        side = pixels.shape[-1] // tokens.layout.shape[-1]  # type: ignore[attr-defined]
        covered = hidden.view(len(hidden), 1, *tokens.layout.shape)  # type: ignore[attr-defined]
        pixels = pixels.masked_fill(covered.repeat_interleave(side, 2).repeat_interleave(side, 3), 0.55)
    return list((pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
