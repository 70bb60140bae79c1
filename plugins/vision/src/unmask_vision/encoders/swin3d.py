"""torchvision's 3-D Swin transformer as an encoder of volumes that is shown mask tokens (Liu et al. 2021,
arXiv:2106.13230)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.video.swin_transformer import SwinTransformer3d

from unmask import Encoder, Grid, Latent, Mask, Tokens
from unmask.api import at_least
from unmask.nn import sincos
from unmask_vision.encoders.patches import replace_hidden


class Swin3DEncoder(Encoder):
    """Attention in shifted windows of blocks of voxels, at several scales, each twice as coarse on all three sides.

    Shifted windows need every place, so hidden ones are not dropped. Codes are those of the last stage, ``2^(S - 1)``
    times coarser on each side than the blocks; `Latent.pyramid` has the maps of all stages, the finest first; the last
    one is normed.

    Args:
        num_values: V, values of a block: its voxels times channels.
        width: of the first stage, a multiple of 6 (for the positions); each further one is twice as wide.
        depths: blocks of each stage. Swin-S: 2, 2, 18, 2.
        num_heads: of each stage.
        window_size: places of a window's side.
        drop_path_ratio: stochastic depth, in [0, 1).

    Raises:
        ValueError: an unfit number; when called, tokens on no 3-D grid or of sides that stages cannot halve, a
            corruption that drops places.
    """

    def __init__(
        self,
        num_values: int,
        width: int = 96,
        depths: tuple[int, ...] = (2, 2, 18, 2),
        num_heads: tuple[int, ...] = (3, 6, 12, 24),
        window_size: int = 4,
        drop_path_ratio: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(1, num_values=num_values, window_size=window_size)
        if width % 6:
            raise ValueError(
                f"`width` must be a multiple of 6, but is {width}; nearest: {max(round(width / 6), 1) * 6}."
            )
        if len(num_heads) != len(depths):
            raise ValueError(f"`num_heads` must have {len(depths)} numbers, as `depths`, but has {len(num_heads)}.")
        if sum(depths) < 2:
            raise ValueError(f"`depths` must be of at least 2 blocks together, but are {list(depths)}.")
        self.widths = [width * 2**number for number in range(len(depths))]
        self.width, self.num_layers, self.num_values = self.widths[-1], len(depths), num_values
        swin: Any = SwinTransformer3d(
            [1, 1, 1], width, list(depths), list(num_heads), [window_size] * 3,
            stochastic_depth_prob=drop_path_ratio, downsample_layer=Halved,
            patch_embed=lambda **options: _Embedding(num_values, width),
        )  # fmt: skip
        swin.head = nn.Identity()  # of classes
        self.swin = swin
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        grid = self._grid(tokens)
        x: Tensor = self.swin.patch_embed(tokens.values)  # [B, N, D0]
        x = x + sincos(tokens.layout, tokens.num_tokens, x.shape[-1], x.device).to(x.dtype)
        if mask is not None:
            if mask.show is None:
                raise ValueError(
                    "`drop` of the corruption must be 0 for Swin3DEncoder, whose windows need every place, but is 1."
                )
            x = replace_hidden(x, mask, self.mask_token)  # of no place: windows know relative positions
        x = x.unflatten(1, grid)  # [B, depth, rows, columns, D0]
        pyramid = []
        for number in range(self.depth(layer)):
            if number:
                x = self.swin.features[2 * number - 1](x)
            x = self.swin.features[2 * number](x)
            if number == self.num_layers - 1 and layer is None:
                x = self.swin.norm(x)
            pyramid.append(x.movedim(-1, 1))
        return Latent(x.flatten(1, 3), pyramid=pyramid)

    def _grid(self, tokens: Tokens) -> tuple[int, ...]:
        if not isinstance(tokens.layout, Grid) or len(tokens.layout.shape) != 3:
            raise ValueError(f"Swin3DEncoder works on a 3-D Grid, but the tokens lie on a {tokens.layout}.")
        coarsest = 2 ** (self.num_layers - 1)
        if any(side % coarsest for side in tokens.layout.shape):
            have = "x".join(map(str, tokens.layout.shape))
            near = "x".join(str(max(round(side / coarsest), 1) * coarsest) for side in tokens.layout.shape)
            raise ValueError(
                f"Sides of the grid must be multiples of {coarsest} for {self.num_layers} stages, but are {have}; "
                f"nearest: {near}."
            )
        return tokens.layout.shape


class _Embedding(nn.Module):
    """A linear layer and a norm, as torchvision's embedding of patches, for blocks that are cut already."""

    def __init__(self, num_values: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(num_values, width)
        self.norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(values))
        return out


class Halved(nn.Module):
    """Eight neighbours become one, twice as wide: Swin's merging of patches on all three sides.

    Args:
        dim: D of what comes in.
        norm_layer: makes the norm.
    """

    def __init__(self, dim: int, norm_layer: Callable[..., nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm_layer(8 * dim)
        self.reduction = nn.Linear(8 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 2 depth, 2 rows, 2 columns, D]`` to ``[B, depth, rows, columns, 2 D]``."""
        cells = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # [B, d, 2, r, 2, c, 2, D]
        merged: Tensor = self.reduction(self.norm(cells.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4)))
        return merged
