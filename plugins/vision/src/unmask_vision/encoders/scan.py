"""Patches read by selective scans, whose cost grows linearly with their number (Vision Mamba, Zhu et al. 2024,
arXiv:2401.09417)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from unmask import RANDOM, TOKEN, Encoder, Latent, Mask, Tokens
from unmask.nn import Scan, sincos


class ScanEncoder(Encoder):
    """Patches, row by row, through scans from both ends; dropped ones are left out before anything is computed.

    Args:
        width: D, a multiple of 4, or of 6 for volumes (for the positions).
        depth: number of blocks.
        patch_size: side of a patch in pixels; the sides of a cube of a volume in voxels, depth first.
        channels: of the images or volumes.
        num_states: of each channel's recurrence. Mamba: 16.
        both_ways: whether every block reads patches from their end as well.
        mask_token: whether hidden places may be shown as a learned token.

    Differs from Vision Mamba in fixed sine-cosine positions, and in that it has no class token.

    Raises:
        ValueError: a number below 1; when called, patches of another size, or tokens shown without a mask token.
    """

    def __init__(
        self,
        width: int = 192,
        depth: int = 24,
        patch_size: int | tuple[int, int, int] = 16,
        channels: int = 3,
        num_states: int = 16,
        both_ways: bool = True,
        mask_token: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.num_layers = width, depth
        self.num_values = prod((patch_size,) * 2 if isinstance(patch_size, int) else patch_size) * channels
        self.embed = nn.Linear(self.num_values, width)
        self.trunk = Scan(width, depth, num_states, both_ways=both_ways)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if mask_token else None
        nn.init.xavier_uniform_(self.embed.weight)
        if self.mask_token is not None:
            nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        return self.codes_of(tokens, mask, [layer])[0]

    def codes_of(self, tokens: Tokens, mask: Mask | None, layers: Sequence[int | None]) -> list[Latent]:
        values, seen = tokens.values, None if mask is None else mask.seen
        if values.shape[-1] != self.num_values:
            raise ValueError(
                f"A token must have {self.num_values} values, as the encoder's `patch_size` and `channels` say, but "
                f"has {values.shape[-1]}."
            )
        positions = sincos(tokens.layout, tokens.num_tokens, self.width, values.device).expand(len(values), -1, -1)
        x = self.embed(values if seen is None else seen.gather(values))  # [B, K, D]
        if mask is not None and mask.show is not None:
            x = self._shown(x, mask)
        x = x + (positions if seen is None else seen.gather(positions)).to(x.dtype)
        valid = tokens.valid if seen is None else seen.valid
        depths = [self.depth(layer) for layer in layers]
        states: dict[int, Tensor] = {}
        for number, block in enumerate(self.trunk.blocks[: max(depths)], start=1):
            x = block(x, valid)
            if number in depths:
                states[number] = x
        codes = [
            self.trunk.norm(states[depth]) if layer is None else states[depth]
            for layer, depth in zip(layers, depths, strict=True)
        ]
        return [Latent(one, seen) for one in codes]

    def _shown(self, x: Tensor, mask: Mask) -> Tensor:
        if self.mask_token is None:
            raise ValueError(
                "`mask_token` of the encoder must be true for a corruption that shows tokens, but is false."
            )
        assert mask.show is not None
        shown = x.where(~(mask.hidden & (mask.show == TOKEN))[..., None], self.mask_token.to(x.dtype))
        if mask.donor is None:
            return shown
        stand_in = x.gather(1, mask.donor[..., None].expand(-1, -1, x.shape[-1]))
        return shown.where(~(mask.hidden & (mask.show == RANDOM))[..., None], stand_in)
