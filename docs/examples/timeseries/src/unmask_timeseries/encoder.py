"""A transformer over the tokens that it is shown, from core's trunk."""

from __future__ import annotations

import torch
from torch import nn

from unmask import Encoder, Latent, Mask, Tokens
from unmask.handoffs import KEPT
from unmask.nn import Transformer, sincos


class TimeseriesEncoder(Encoder):
    """Hidden tokens are left out, or shown as a mask token where the method's corruption says so.

    Args:
        patch_size: values of a token.
        width: D, of the codes; a multiple of ``num_heads`` and of 2.
        depth: layers.
        num_heads: attention heads.
    """

    def __init__(self, patch_size: int = 4, width: int = 32, depth: int = 2, num_heads: int = 4) -> None:
        super().__init__()
        self.width, self.num_layers = width, depth
        self.embed = nn.Linear(patch_size, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.trunk = Transformer(width, depth, num_heads)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        depth = self.depth(layer)
        x = self.embed(tokens.values)  # [B, N, D]
        if mask is not None and mask.show is not None:
            x = torch.where((mask.hidden & (mask.show != KEPT))[..., None], self.mask_token.to(x.dtype), x)
        x = x + sincos(tokens.layout, x.shape[1], self.width, x.device).to(x.dtype)
        seen = None if mask is None else mask.seen
        x = x if seen is None else seen.gather(x)  # [B, K, D]
        for block in self.trunk.blocks[:depth]:
            x = block(x)
        return Latent(x if layer else self.trunk.norm(x), seen)
