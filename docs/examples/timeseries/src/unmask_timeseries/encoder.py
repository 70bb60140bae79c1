"""PatchTST's encoder, of core's transformer blocks: each channel by itself (Nie et al. 2022, section 3.1)."""

from __future__ import annotations

import torch
from torch import nn
from unmask import KEPT, Encoder, Grid, Latent, Mask, Tokens
from unmask.nn import Block, xavier


class PatchTSTEncoder(Encoder):
    """Patches of a channel attend to each other; channels share all weights and do not see each other.

    A hidden patch is shown as one of zeros, which is the channel's mean: its code is made of the embedding's bias.

    Args:
        patch_size: time steps of a token.
        num_patches: tokens of a channel, each with a learned position.
        width: D, a multiple of ``num_heads``.
        depth: blocks.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLPs over ``width``.

    Raises:
        ValueError: a width that the heads do not divide, another number of patches, or hidden places that are dropped.

    Differs from the paper as transformers' `PatchTSTForPretraining` allows: norms come before the layers and are
    layer norms (``pre_norm``, ``norm_type="layernorm"``), where the paper has batch norms after them.
    """

    def __init__(
        self,
        patch_size: int = 12,
        num_patches: int = 42,
        width: int = 128,
        depth: int = 3,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.width, self.num_layers, self.num_patches = width, depth, num_patches
        self.embed = nn.Linear(patch_size, width)
        self.positions = nn.Parameter(0.02 * torch.randn(num_patches, width))
        self.blocks = nn.ModuleList(Block(width, num_heads, mlp_ratio) for _ in range(depth))
        self.apply(xavier)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        depth = self.depth(layer)
        if not isinstance(tokens.layout, Grid) or tokens.layout.shape[-1] != self.num_patches:
            raise ValueError(
                f"`num_patches` must be the patches of a channel, but is {self.num_patches} for tokens on a "
                f"{tokens.layout}."
            )
        values = tokens.values  # [B, C * N, V]
        if mask is not None:
            if mask.show is None:
                raise ValueError("PatchTSTEncoder shows hidden patches as zeros; use a `corruption` with `drop` 0.")
            values = values.masked_fill((mask.hidden & (mask.show != KEPT))[..., None], 0)
        x = self.embed(values).unflatten(1, tokens.layout.shape) + self.positions  # [B, C, N, D]
        shape = x.shape
        x = x.flatten(0, 1)
        for block in self.blocks[:depth]:
            x = block(x)
        return Latent(x.view(shape).flatten(1, 2))
