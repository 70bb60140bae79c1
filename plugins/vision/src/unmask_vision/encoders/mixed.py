"""An encoder of mixed images, whose patches attend to those that are most alike (MixedAE, Chen et al. 2023)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unmask import Encoder, Latent, Mask, Tokens
from unmask.api import inside
from unmask_vision.encoders.vit import ViTEncoder


class MixedEncoder(Encoder):
    """Several images as one: at each place the patch of the one image that shows it; then codes by image again.

    While images are mixed, every head of a query attends to the highest scores alone ("homologous recognition",
    section 3.2), and a learned vector of its source is added to each code. One image by itself is coded as by ``vit``.

    Args:
        vit: codes the mixture; of plain attention, without relative positions.
        num_sources: images of a mixture, at least 2 (section 4.1: 4).
        attention_ratio: share of the keys that a query attends to while images are mixed, in (0, 1]; None: one over
            the sources.

    Raises:
        ValueError: a number out of range, another attention; when called, another number of parts.
    """

    joint = True

    def __init__(self, vit: ViTEncoder, num_sources: int = 4, attention_ratio: float | None = None) -> None:
        super().__init__()
        if num_sources < 2:
            raise ValueError(f"`num_sources` must be at least 2, but is {num_sources}.")
        ratio = 1 / num_sources if attention_ratio is None else attention_ratio
        inside("(0, 1]", attention_ratio=ratio)
        self.width, self.num_layers = vit.width, vit.num_layers
        self.vit = vit
        self.source = nn.Parameter(torch.zeros(num_sources, 1, vit.width))
        nn.init.trunc_normal_(self.source, std=0.02)
        for block in vit.vit.blocks:
            block.attn = TopAttention(block.attn, ratio)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        for block in self.vit.vit.blocks:  # stays so until the next call: a backward pass may run blocks again
            block.attn.to_all = tokens.parts is None
        if tokens.parts is None:
            return self.vit(tokens, mask, layer)
        names = list(tokens.parts)
        if len(names) != len(self.source) or mask is None or mask.parts is None:
            raise ValueError(f"A mixture must be of {len(self.source)} parts with a mask, but has {len(names)} parts.")
        first = tokens.parts[names[0]]
        values = torch.zeros_like(first.values)
        for name in names:
            values = torch.where(mask.part(name).hidden[..., None], values, tokens.parts[name].values)

        mixed = self.vit(replace(first, values=values), None, layer)  # values [B, N, D]
        parts = {}
        for number, name in enumerate(names):
            seen = mask.part(name).visible
            parts[name] = Latent(seen.gather(mixed.values) + self.source[number], seen, mixed.prefix)
        return Latent.join(parts)


class TopAttention(nn.Module):
    """timm's attention, by the same weights under the same names, to the highest scores of each query alone.

    Args:
        attn: whose layers it takes.
        ratio: share of the keys, of which at least one counts.
    """

    def __init__(self, attn: Any, ratio: float) -> None:
        super().__init__()
        if type(attn).__name__ != "Attention":
            raise ValueError(f"`vit` must have timm's plain attention, but has {type(attn).__name__}.")
        self.num_heads, self.head_dim, self.scale = attn.num_heads, attn.head_dim, attn.scale
        self.qkv, self.q_norm, self.k_norm = attn.qkv, attn.q_norm, attn.k_norm
        self.norm, self.proj = attn.norm, attn.proj
        self.ratio = ratio
        self.to_all = True

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        """``x`` ``[B, N, D]``."""
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = self.q_norm(qkv[0]), self.k_norm(qkv[1]), qkv[2]  # [B, H, N, D / H] each
        scores = (q * self.scale) @ k.mT  # [B, H, N, N]
        if attn_mask is not None:
            scores = (
                scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else scores + attn_mask
            )
        count = max(round(length * self.ratio), 1)
        if not self.to_all and count < length:
            least = scores.topk(count, dim=-1).values[..., -1:]
            scores = scores.masked_fill(scores < least, float("-inf"))
        x = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, -1)
        return self.proj(self.norm(x))
