"""A white-box transformer of images (CRATE, Yu et al. 2023; CRATE-MAE, Pai et al. 2024, arXiv:2404.02446)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unmask import Encoder, Latent, Mask, Tokens
from unmask.api import at_least
from unmask.nn import CRATEBlock, sincos, xavier
from unmask_vision.encoders.patches import replace_hidden


class CRATEEncoder(Encoder):
    """Patches, embedded with fixed positions, through `CRATEBlock`; images may be of any size.

    Args:
        width: D, a multiple of 4. The paper: 768 for B, 576 for S.
        depth: blocks.
        num_heads: subspaces; must divide ``width``.
        patch_size: side of a patch in pixels.
        channels: colour channels of the images.
        mask_token: whether hidden patches may be shown as a learned token.
        step: of sparse coding (released code of CRATE-MAE).
        sparsity: likewise.

    Raises:
        ValueError: a width that is no multiple of 4 or of ``num_heads``, or, when called, tokens of other patches.
    """

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        patch_size: int = 16,
        channels: int = 3,
        mask_token: bool = False,
        step: float = 0.1,
        sparsity: float = 0.5,
    ) -> None:
        super().__init__()
        at_least(1, width=width, depth=depth, num_heads=num_heads, patch_size=patch_size, channels=channels)
        if width % 4:
            raise ValueError(
                f"`width` must be a multiple of 4, but is {width}; nearest: {max(round(width / 4), 1) * 4}."
            )
        self.width, self.num_layers = width, depth
        self.embed = nn.Linear(patch_size**2 * channels, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if mask_token else None
        self.blocks = nn.ModuleList(CRATEBlock(width, num_heads, step, sparsity) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.embed.apply(xavier)
        self.blocks.apply(xavier)
        for token in (self.cls_token, self.mask_token):
            if token is not None:
                nn.init.normal_(token, std=0.02)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        self.depth(layer)  # refuses one that is not there
        return self.codes_of(tokens, mask, [layer])[0]

    def codes_of(self, tokens: Tokens, mask: Mask | None, layers: Sequence[int | None]) -> list[Latent]:
        seen = None if mask is None else mask.seen
        values = tokens.values if seen is None else seen.gather(tokens.values)
        if values.shape[-1] != self.embed.in_features:
            raise ValueError(
                f"A token must have {self.embed.in_features} values, as the encoder's `patch_size` and `channels` say, "
                f"but has {values.shape[-1]}."
            )
        x = self.embed(values)  # [B, K, D]
        if mask is not None and mask.show is not None:
            x = replace_hidden(x, mask, self.mask_token)
        positions = sincos(tokens.layout, tokens.values.shape[1], self.width, x.device).to(x.dtype)[None]
        x = x + (positions if seen is None else seen.gather(positions.expand(x.shape[0], -1, -1)))
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1).to(x.dtype), x], 1)

        valid = tokens.valid if seen is None else seen.valid
        valid = None if valid is None else torch.cat([valid.new_ones(len(valid), 1), valid], 1)
        depths = [0 if layer == 0 else self.depth(layer) for layer in layers]
        states: dict[int, Tensor] = {0: x}
        for number, block in enumerate(self.blocks[: max(depths)], start=1):
            states[number] = x = block(x, valid)
        outputs = [
            self.norm(states[depth]) if layer is None else states[depth]
            for layer, depth in zip(layers, depths, strict=True)
        ]
        return [Latent(one[:, 1:], seen, one[:, :1]) for one in outputs]
