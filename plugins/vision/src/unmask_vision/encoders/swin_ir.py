"""Attention in windows at full resolution, for restoring images (SwinIR, Liang et al. 2021, arXiv:2108.10257)."""

from __future__ import annotations

from typing import Any

from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from unmask import Encoder, Latent, Mask, Tokens
from unmask.api import at_least, inside
from unmask_vision.encoders.positions import grid_of


class SwinIREncoder(Encoder):
    """A convolution, groups of Swin blocks each with a convolution around which the input goes, and a norm.

    A code for each place, none of them coarser. In training a share of the places may be set to 0 before each
    attention, drawn anew for each block and sample (Chen et al. 2023, section 3.2); the rest of a block sees them.

    Args:
        image_size: of the images in places: the side of squares, or (height, width). Others are taken too.
        patch_size: side of a place in pixels; 1: a pixel (SwinIR).
        channels: of the images.
        width: D. Masked denoising: 60.
        depths: blocks of each group.
        num_heads: of all blocks; must divide ``width``.
        window_size: places of a window's side.
        mlp_ratio: hidden width of the blocks' MLPs over ``width``.
        attention_mask_ratio: share of the places that is 0 before each attention, in [0, 1). Masked denoising: 0.75.
            Places fall whenever a mask is given, so in validation too, and never where codes are used afterwards.

    Raises:
        ValueError: a number out of range; when called, a corruption that drops places.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 64,
        patch_size: int = 1,
        channels: int = 3,
        width: int = 60,
        depths: tuple[int, ...] = (6, 6, 6, 6),
        num_heads: int = 6,
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        attention_mask_ratio: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, patch_size=patch_size, channels=channels, width=width, window_size=window_size)
        inside("[0, 1)", attention_mask_ratio=attention_mask_ratio)
        if width % num_heads:
            raise ValueError(f"`width` must be a multiple of `num_heads` ({num_heads}), but is {width}.")
        sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        grid = (sides[0] // patch_size, sides[1] // patch_size)
        self.width, self.num_layers = width, len(depths)
        self.attention_mask_ratio = attention_mask_ratio
        self.embed = nn.Conv2d(patch_size**2 * channels, width, 3, padding=1)
        options: dict[str, Any] = {"window_size": window_size, "mlp_ratio": mlp_ratio, "always_partition": True}
        self.groups: Any = nn.ModuleList(
            nn.ModuleList(
                MaskedBlock(width, grid, num_heads, shift_size=i % 2 * (window_size // 2), **options)
                for i in range(depth)
            )
            for depth in depths
        )
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in depths)
        self.norm = nn.LayerNorm(width)
        self._laid_out = grid

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        if mask is not None and mask.show is None:
            raise ValueError("SwinIREncoder needs every place; use a corruption with `drop` 0.")
        grid = grid_of(tokens)
        if grid != self._laid_out:
            for group in self.groups:
                for block in group:
                    block.set_input_size(grid, self._window(block))
            self._laid_out = grid
        x = self.embed(tokens.values.mT.unflatten(2, grid)).movedim(1, -1)  # [B, rows, columns, D]
        draws = mask.streams().named("attention") if mask is not None and self.attention_mask_ratio else None
        for group, conv in zip(self.groups[: self.depth(layer)], self.convs, strict=False):
            y = x
            for block in group:
                kept: Tensor | None = None
                if draws is not None:
                    kept = draws.uniform(*grid)[..., None] >= self.attention_mask_ratio  # [B, rows, columns, 1]
                y = block(y, kept)
            x = x + conv(y.movedim(-1, 1)).movedim(1, -1)
        x = x.flatten(1, 2)
        return Latent(self.norm(x) if layer is None else x)

    @staticmethod
    def _window(block: Any) -> tuple[int, int]:
        window: tuple[int, int] = tuple(block.window_size)
        return window


class MaskedBlock(SwinTransformerBlock):
    """timm's block, with places set to 0 before its attention."""

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """``x`` ``[B, rows, columns, D]``; ``kept`` ``[B, rows, columns, 1]`` bool, None: all."""
        y = self.norm1(x)
        x = x + self._attn(y if kept is None else y * kept)
        made: Tensor = x + self.mlp(self.norm2(x).flatten(1, 2)).view(x.shape)
        return made
