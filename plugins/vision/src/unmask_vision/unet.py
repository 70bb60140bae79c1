"""Light U-Net: maps of several scales, their hidden cells filled in, back to pixels (SparK, Tian et al. 2023)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from unmask import Grid, Latent, Mask, Prediction, Predictor, Tokens
from unmask.api import at_least
from unmask_vision.encoders.sparse import resized


class UNetPredictor(Predictor):
    """Goes from the coarsest map to pixels, twice as fine a block, and adds each map where it is as fine.

    A map is normed over its visible cells, its hidden ones become a learned token of its scale, and a convolution
    (1 x 1 at the coarsest, 3 x 3 at others) gives it the decoder's width there, which halves with each block: a
    transposed convolution 4 x 4 of stride 2, then convolution, BatchNorm, ReLU6, convolution, BatchNorm. A 1 x 1
    convolution answers with all pixels of a patch.

    Args:
        encoder_widths: C of each map, the finest first, as ``widths`` of the encoder; the coarsest has cells of
            ``stride``, and each other is twice as fine as the next. Of an encoder of one scale, such as a ViT, D alone.
        target_width: T, values of a patch: patch_size^2 x channels.
        patch_size: side of a patch in pixels.
        width: of the coarsest scale; a multiple of ``stride``. The released code has 768.
        norm: of maps over their visible cells: ``batch``, as for a ResNet, or ``layer``, as for a ConvNeXt (in the
            released code).
        stride: pixels per cell of the coarsest map, on a side: a power of two, and a multiple of ``patch_size``; None:
            ``patch_size``. Patches may be finer where they are shown as stand-ins, down to pixels.

    Raises:
        ValueError: sizes that do not fit together; an encoder that makes other maps, or none.
    """

    def __init__(
        self,
        encoder_widths: list[int],
        target_width: int,
        patch_size: int,
        width: int = 768,
        norm: Literal["batch", "layer"] = "batch",
        stride: int | None = None,
    ) -> None:
        super().__init__()
        at_least(1, width=width, patch_size=patch_size)
        name, stride = ("patch_size", patch_size) if stride is None else ("stride", stride)
        at_least(1, stride=stride)
        num_blocks = round(math.log2(stride))
        if 2**num_blocks != stride:
            raise ValueError(f"`{name}` must be a power of two, but is {stride}; nearest: {2**num_blocks}.")
        if stride % patch_size:
            raise ValueError(
                f"`stride` must be a multiple of {patch_size}, the `patch_size`, but is {stride}; nearest: "
                f"{patch_size * max(round(stride / patch_size), 1)}."
            )
        if target_width % patch_size**2:
            raise ValueError(
                f"`target_width` must be a multiple of {patch_size**2}, the pixels of a patch, but is {target_width}."
            )
        if width % stride:
            near = max(round(width / stride), 1) * stride
            raise ValueError(f"`width` must be a multiple of {stride}, the `{name}`, but is {width}; nearest: {near}.")
        if not 1 <= len(encoder_widths) <= num_blocks + 1:
            raise ValueError(
                f"`encoder_widths` must name 1 to {num_blocks + 1} maps for cells of {stride} pixels, but names "
                f"{len(encoder_widths)}."
            )
        if norm not in ("batch", "layer"):
            raise ValueError(f"`norm` must be 'batch' or 'layer', but is {norm!r}.")
        self.patch_size, self.stride = patch_size, stride
        own = [width // 2**number for number in range(num_blocks + 1)]  # widths, the coarsest first
        coarsest_first = encoder_widths[::-1]
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(c) if norm == "batch" else nn.LayerNorm(c, 1e-6) for c in coarsest_first
        )
        self.mask_tokens = nn.ParameterList(nn.Parameter(torch.zeros(1, c, 1, 1)) for c in coarsest_first)
        self.embeds = nn.ModuleList(
            nn.Identity()
            if not number and c == own[0]
            else nn.Conv2d(c, own[number], 3 if number else 1, padding="same")
            for number, c in enumerate(coarsest_first)
        )
        self.blocks = nn.ModuleList(_Up(*pair) for pair in pairwise(own))
        self.head = nn.Conv2d(own[-1], target_width // patch_size**2, 1)
        self.apply(_initialise)
        for token in self.mask_tokens:
            nn.init.trunc_normal_(token, std=0.02, a=-0.02, b=0.02)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        assert isinstance(places.layout, Grid)
        grid = places.layout.shape[0], places.layout.shape[1]
        p = self.patch_size
        maps = self._checked(latent, (grid[0] * p // self.stride, grid[1] * p // self.stride))
        hidden = mask.hidden if mask.show is None else torch.zeros_like(mask.hidden)
        visible = ~hidden.view(-1, *grid)  # [B, rows, columns]
        x: Tensor | None = None
        for number, block in enumerate([*self.blocks, nn.Identity()]):
            if number < len(maps):
                level = self._filled(number, maps[number], visible)
                x = level if x is None else x + level
            x = block(x)  # [B, W / 2, 2 rows, 2 columns]
        image = self.head(x)  # [B, C, H, W]
        cells = image.unflatten(3, (grid[1], p)).unflatten(2, (grid[0], p))  # [B, C, rows, p, columns, p]
        answers = cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # [B, N, T]
        return Prediction(mask.asked.gather(answers), mask.asked)

    def _checked(self, latent: Latent, grid: tuple[int, int]) -> list[Tensor]:
        """Maps of the encoder, the coarsest first; its codes as a map where it has one scale."""
        maps = [_mapped(latent, grid)] if latent.pyramid is None else list(latent.pyramid)[::-1]
        found = [(one.shape[1], *one.shape[2:]) for one in maps]
        widths = [embed.in_channels if isinstance(embed, nn.Conv2d) else found[0][0] for embed in self.embeds]
        needed = [(c, grid[0] * 2**number, grid[1] * 2**number) for number, c in enumerate(widths)]
        if found != needed:
            raise ValueError(
                f"Maps of the encoder must be {needed[::-1]} (width, rows, columns), as `encoder_widths` and cells "
                f"of {self.stride} pixels say, but are {found[::-1]}."
            )
        return maps

    def _filled(self, number: int, level: Tensor, visible: Tensor) -> Tensor:
        """A map with its token at hidden cells, as wide as the decoder is there."""
        seen = resized(visible, (level.shape[2], level.shape[3]))
        rows = self.norms[number](level.permute(0, 2, 3, 1)[seen])  # [n, C]
        whole = self.mask_tokens[number].to(rows.dtype).expand_as(level).permute(0, 2, 3, 1).clone()
        whole[seen] = rows
        filled: Tensor = self.embeds[number](whole.permute(0, 3, 1, 2))
        return filled


def _mapped(latent: Latent, grid: tuple[int, int]) -> Tensor:
    """Codes of places of a grid, 0 where there is none: ``[B, D, *grid]``."""
    codes = latent.values
    if latent.seen is not None:
        codes = latent.seen.scatter(codes, codes.new_zeros(len(codes), grid[0] * grid[1], codes.shape[2]))
    if codes.shape[1] != grid[0] * grid[1]:
        raise ValueError(
            f"UNetPredictor needs a code at each of the {grid[0] * grid[1]} places, or maps of several scales, but the "
            f"encoder makes {codes.shape[1]} codes alone; nearest: `vision.cnn`."
        )
    return codes.transpose(1, 2).unflatten(2, grid)


class _Up(nn.Module):
    """Twice as many rows and columns."""

    def __init__(self, width: int, new_width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)
        self.conv = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(),
            nn.Conv2d(width, new_width, 3, padding=1, bias=False),
            nn.BatchNorm2d(new_width),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(self.up(x))
        return out


def _initialise(module: nn.Module) -> None:
    """As the released code: convolutions normal(0.02), transposed ones by He's rule, biases 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
