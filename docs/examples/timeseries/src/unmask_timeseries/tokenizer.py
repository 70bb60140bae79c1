"""Cuts a signal into patches: what may be hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask import Sequence, Tokenizer, Tokens

_HEIGHT = 48  # of a picture, in pixels


class TimeseriesTokenizer(Tokenizer):
    """``batch["signal"]`` ``[B, L]`` as L / patch_size tokens of ``patch_size`` values.

    Args:
        patch_size: values of a token; must divide L.
    """

    def __init__(self, patch_size: int = 4) -> None:
        super().__init__()
        self.patch_size = patch_size

    def forward(self, batch: Any) -> Tokens:
        return Tokens(batch["signal"].unflatten(-1, (-1, self.patch_size)), Sequence())  # [B, N, V]

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        signal = tokens.values.flatten(1).float().cpu()  # [B, L]
        row = ((0.5 - signal.clamp(-1.5, 1.5) / 3) * (_HEIGHT - 1)).round()  # upwards is more
        ink = torch.arange(_HEIGHT)[:, None] == row[:, None]  # [B, height, L]
        grey = torch.zeros_like(signal) if hidden is None else hidden.cpu().repeat_interleave(self.patch_size, 1)
        picture = torch.where(grey[:, None] > 0, 160, torch.where(ink, 0, 255)).byte()
        return list(picture[..., None].expand(-1, -1, -1, 3).numpy())
