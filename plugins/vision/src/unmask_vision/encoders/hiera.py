"""timm's Hiera as an encoder that computes visible mask units only (Hiera, Ryali et al. 2023, arXiv:2306.00989)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from unmask import Encoder, Latent, Mask, Tokens
from unmask.api import nearest
from unmask_vision.encoders.positions import grid_of


class HieraEncoder(Encoder):
    """Any ``hiera_*`` model of timm, without its head; ``net`` is timm's own module.

    A token is a mask unit, 32 pixels a side: the first stages attend and pool in it, to a single code at the end, so
    hidden units are left out of all blocks. They are 0 for the overlapping patch convolution. Maps of all stages are
    brought to one code per unit by convolutions as large as a unit, summed and normed.

    Args:
        name: timm model name, ``hiera_*``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: 224.
        channels: colour channels of the images.
        pretrained: load timm's pretrained weights, by its own mechanism.
        drop_path_ratio: stochastic depth, in [0, 1).
        options: further arguments of timm's model, such as ``embed_dim`` or ``stages``.

    Raises:
        ValueError: a name that timm does not have, units that end as several codes; when called, tokens of another size
            or grid, a corruption that shows hidden ones, or samples with different numbers of visible ones.
    """

    def __init__(
        self,
        name: str = "hiera_base_224",
        image_size: int | tuple[int, int] | None = None,
        channels: int = 3,
        pretrained: bool = False,
        drop_path_ratio: float = 0.0,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        known = timm.list_models("hiera_*")
        if name.split(".")[0] not in known:
            near = ", ".join(nearest(name, known)) or known[0]
            raise ValueError(f"`name` must be a `hiera_*` model of timm, but is {name!r}; nearest: {near}.")
        size = image_size or 224
        sides = (size, size) if isinstance(size, int) else (size[0], size[1])
        net: Any = timm.create_model(
            name, pretrained, in_chans=channels, num_classes=0, img_size=sides, drop_path_rate=drop_path_ratio,
            **(options or {}),
        )  # fmt: skip
        net.head.requires_grad_(False)  # its norm, which pretraining does not use
        self.net = net
        self.channels = channels
        self.patch_size: int = net.patch_stride[0] * net.mask_unit_size[0]
        self.grid: tuple[int, int] = (net.mask_spatial_shape[0], net.mask_spatial_shape[1])
        self.num_layers = len(net.stage_ends)
        self.width: int = net.num_features

        unit = net.mask_unit_size[0]
        cells = [unit // net.q_stride[0] ** min(stage, net.q_pool) for stage in range(self.num_layers)]
        if cells[-1] != 1:
            raise ValueError(
                f"A mask unit must end as 1 code, but `mask_unit_size` {unit} and `q_pool` {net.q_pool} leave "
                f"{cells[-1]} a side; nearest `mask_unit_size`: {net.q_stride[0] ** net.q_pool}."
            )
        widths = [info["num_chs"] for info in net.feature_info]
        self.heads = nn.ModuleList(
            nn.Identity() if stage == self.num_layers - 1 else nn.Conv2d(width, self.width, side, side)
            for stage, (width, side) in enumerate(zip(widths, cells, strict=True))
        )
        self.norm = nn.LayerNorm(self.width, eps=1e-6)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        self.depth(layer)  # refuses one that is not there
        return self.codes_of(tokens, mask, [layer])[0]

    def codes_of(self, tokens: Tokens, mask: Mask | None, layers: Sequence[int | None]) -> list[Latent]:
        net = self.net
        seen = None if mask is None else mask.seen
        values = tokens.values
        self._check(tokens, mask)
        if mask is not None:
            values = values.masked_fill(mask.hidden[..., None], 0)
        (rows, columns), p = self.grid, self.patch_size
        cells = values.view(-1, rows, columns, p, p, self.channels)
        image = cells.permute(0, 5, 1, 3, 2, 4).reshape(-1, self.channels, rows * p, columns * p)

        # In timm's order of tokens, units are the fastest.
        x = net.unroll(net._pos_embed(net.patch_embed(image)))  # [B, unit's tokens x U, D0]
        if seen is not None:
            x = x.unflatten(1, (net.mu_size, rows * columns))
            index = seen.index[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])
            x = x.gather(2, index).flatten(1, 2)
        stages: list[Tensor] = []
        for number, block in enumerate(net.blocks):
            x = block(x)
            if number in net.stage_ends:
                units = net.reroll(x, number, mask=True)  # [B, K, rows, columns, D] of each unit
                stages.append(self._code(len(stages), units))
        fused = self.norm(torch.stack(stages).sum(0))
        return [Latent(fused if layer is None else stages[self.depth(layer) - 1], seen) for layer in layers]

    def _code(self, stage: int, units: Tensor) -> Tensor:
        """One code per unit ``[B, K, D]``."""
        flat: Tensor = self.heads[stage](units.flatten(0, 1).permute(0, 3, 1, 2))
        return flat.flatten(1).view(*units.shape[:2], -1)

    def _check(self, tokens: Tokens, mask: Mask | None) -> None:
        needed = self.patch_size**2 * self.channels
        if tokens.values.shape[-1] != needed:
            side = math.sqrt(tokens.values.shape[-1] / self.channels)
            raise ValueError(
                f"`patch_size` must be {self.patch_size}, a mask unit of the encoder, and `channels` {self.channels}, "
                f"but tokens have {tokens.values.shape[-1]} values (`patch_size` {side:g})."
            )
        if grid_of(tokens) != self.grid:
            raise ValueError(
                f"Images must have {self.grid[0]} x {self.grid[1]} mask units, as `image_size` of the encoder says, "
                f"but have {' x '.join(map(str, grid_of(tokens)))}."
            )
        if mask is not None and mask.show is not None:
            raise ValueError("`drop` of the corruption must be 1 for HieraEncoder, which has no mask token.")
        if mask is not None and mask.seen is not None and mask.seen.valid is not None:
            raise ValueError(
                "As many units must be visible in each sample for HieraEncoder; use a mask with one `ratio` for all."
            )
