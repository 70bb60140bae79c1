"""Codes of small cells of an image from codes of its patches, bilinear between their centres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask import Embedder, Encoder, Grid, Latent, Mask, MaskedModel, Tokenizer, Tokens
from unmask.api import trainable_embedder
from unmask.losses import MSELoss
from unmask.masks import NoMask
from unmask.predictors import LinearPredictor
from unmask.targets import ValueTarget

DEPTHS = (1 / 3, 2 / 3)
"""Of the blocks whose codes are used besides the last: of 12, the 4th and the 8th."""
POOLS = (1, 2)
"""Sides of the grids that the last codes are averaged to (PSPNet, Zhao et al. 2017, figure 3, has 1, 2, 3 and 6)."""


class Cellwise(MaskedModel):
    """A pretrained model as segmentation sees it: every cell is a token and has a code of its own.

    Only its `embedder` is of use, which `finetune` trains.

    Args:
        model: whose `embedder` is copied, as trainable as the encoder that was trained.
        stride: side of a cell in pixels.
        scales: as of `CellEncoder`.
    """

    def __init__(self, model: MaskedModel, stride: int = 4, scales: Literal["one", "several"] = "one") -> None:
        used = trainable_embedder(model)
        channels = getattr(used.tokenizer, "channels", 3)
        cells = CellEncoder(used.tokenizer, used.encoder, stride, channels, scales)
        super().__init__(
            tokenizer=CellTokenizer(stride), mask=NoMask(), encoder=cells, target=ValueTarget(), loss=MSELoss(),
            predictor=LinearPredictor(cells.width, stride**2 * channels),
        )  # fmt: skip
        self.agreed = dict(model.agreed)

    @property
    def embedder(self) -> Embedder:
        return Embedder(self.tokenizer, self.encoder)


class CellTokenizer(Tokenizer):
    """Every cell a token: its pixels in [0, 1], ``[B, N, C * stride * stride]``.

    Args:
        stride: side of a cell in pixels.
    """

    def __init__(self, stride: int = 4) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, batch: Mapping[str, Any]) -> Tokens:
        image = batch["image"]
        image = image if image.is_floating_point() else image.float() / 255
        grid = Grid((image.shape[2] // self.stride, image.shape[3] // self.stride))
        return Tokens(F.unfold(image, self.stride, stride=self.stride).transpose(1, 2), grid)


class CellEncoder(Encoder):
    """A code for each cell ``[B, N, D]``, without weights of its own.

    Args:
        tokenizer: cuts images into patches.
        encoder: makes their codes; it may make fewer, on a coarser grid.
        stride: side of a cell in pixels.
        channels: of the images.
        scales: ``one``: the last codes; ``several``: besides these, codes after a third and two thirds of the blocks,
            layer-normed, and the last codes averaged over the image and over its quarters: ``5 D`` wide.

    Raises:
        ValueError: when called, a mask, or codes that lie on no grid.
    """

    num_layers = 1

    def __init__(
        self,
        tokenizer: Tokenizer,
        encoder: Encoder,
        stride: int,
        channels: int,
        scales: Literal["one", "several"] = "one",
    ) -> None:
        super().__init__()
        if scales not in ("one", "several"):
            raise ValueError(f"`scales` must be 'one' or 'several', but is {scales!r}.")
        self.tokenizer, self.encoder, self.stride, self.channels, self.scales = (
            tokenizer, encoder, stride, channels, scales,
        )  # fmt: skip
        self.width = encoder.width * (1 if scales == "one" else 1 + len(DEPTHS) + len(POOLS))

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """As `Encoder`; nothing can be hidden, and there is one layer."""
        self.depth(layer)
        if mask is not None:
            raise ValueError("CellEncoder must see every cell, but was given a mask.")
        assert isinstance(tokens.layout, Grid)
        rows, columns = tokens.layout.shape
        size = rows * self.stride, columns * self.stride
        image = F.fold(tokens.values.transpose(1, 2), size, self.stride, stride=self.stride)
        patches = self.tokenizer({"image": image})
        last = on_grid(self.encoder(patches).values, patches.layout)  # [B, D, h, w]
        maps = [last]
        if self.scales == "several":
            count = self.encoder.num_layers
            for depth in DEPTHS:
                codes = self.encoder(patches, None, max(round(depth * count), 1)).values
                maps.append(on_grid(F.layer_norm(codes, codes.shape[-1:]), patches.layout))
            maps += [F.adaptive_avg_pool2d(last, side) for side in POOLS]
        made = [F.interpolate(one, (rows, columns), mode="bilinear", align_corners=False) for one in maps]
        return Latent(torch.cat(made, 1).flatten(2).transpose(1, 2))


def on_grid(codes: Tensor, layout: Any) -> Tensor:
    """Codes ``[B, K, D]`` of a grid of places, or of one whose sides are a whole number smaller: ``[B, D, h, w]``.

    Raises:
        ValueError: there is no such grid.
    """
    rows, columns = layout.shape if isinstance(layout, Grid) else (0, 0)
    factor = math.isqrt(rows * columns // codes.shape[1])
    if not factor or rows % factor or columns % factor or rows * columns != factor**2 * codes.shape[1]:
        raise ValueError(f"Codes must lie on a grid to segment by them, but there are {codes.shape[1]} on {layout}.")
    return codes.transpose(1, 2).unflatten(2, (rows // factor, columns // factor))
