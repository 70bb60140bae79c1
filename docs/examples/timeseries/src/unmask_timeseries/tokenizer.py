"""Cuts each channel of a series into patches: rows of a grid (Nie et al. 2022, section 3.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from unmask import Grid, Tokenizer, Tokens

_HEIGHT = 32  # of a channel in a picture, in pixels


class SeriesTokenizer(Tokenizer):
    """``batch["series"]`` ``[B, C, L]`` as C times L // patch_size tokens, on a grid of channels and time.

    Each channel of each series is centred and divided by ``sqrt(variance + 1e-5)`` over its whole length, before
    anything is hidden: values are in those units. Steps that fill no patch are left out at the beginning.

    Args:
        patch_size: time steps of a token, at least 1.

    Raises:
        ValueError: a patch size below 1, or longer than the series.
    """

    def __init__(self, patch_size: int = 12) -> None:
        super().__init__()
        if patch_size < 1:
            raise ValueError(f"`patch_size` must be at least 1, but is {patch_size}.")
        self.patch_size = patch_size

    def forward(self, batch: Any) -> Tokens:
        series = batch["series"]  # [B, C, L]
        channels, length = series.shape[1:]
        if length < self.patch_size:
            raise ValueError(
                f"`patch_size` must be at most {length}, the length of a series, but is {self.patch_size}."
            )
        variance, mean = torch.var_mean(series, -1, correction=0, keepdim=True)
        series = (series - mean) / (variance + 1e-5).sqrt()
        patches = series[..., length % self.patch_size :].unflatten(-1, (-1, self.patch_size))  # [B, C, N, V]
        return Tokens(patches.flatten(1, 2), Grid((channels, patches.shape[2])))

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        assert isinstance(tokens.layout, Grid)
        channels = tokens.layout.shape[0]
        series = tokens.values.float().cpu().flatten(1).unflatten(1, (channels, -1))  # [B, C, L]
        row = ((0.5 - series.clamp(-4, 4) / 8) * (_HEIGHT - 1)).round()[:, :, None]
        picture = torch.where(torch.arange(_HEIGHT)[:, None] == row, 0, 255)  # [B, C, height, L]
        if hidden is not None:
            grey = hidden.cpu().repeat_interleave(self.patch_size, 1).unflatten(1, (channels, -1))
            picture = picture.masked_fill(grey[:, :, None], 160)
        return list(picture.flatten(1, 2).byte()[..., None].expand(-1, -1, -1, 3).numpy())
