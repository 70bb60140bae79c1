"""Images and volumes by one model, batch by batch: tokens, codes and answers of either (Uni4Eye, Cai et al. 2022)."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from unmask import Encoder, Grid, Latent, Mask, Prediction, Predictor, Tokenizer, Tokens
from unmask.nn import Transformer, cut, sincos, xavier
from unmask.predictors import TransformerPredictor
from unmask_vision.tokenizer import PatchTokenizer


class UnifiedTokenizer(Tokenizer):
    """Patches of images ``[B, C, H, W]``, cubes of volumes ``[B, C, depth, H, W]``, of one side and one scale.

    Args:
        patches: cuts images; its side, means and deviations are those of cubes as well.

    Raises:
        ValueError: when called, sides that are no multiples of the patch size, or another number of channels.
    """

    def __init__(self, patches: PatchTokenizer) -> None:
        super().__init__()
        self.patches = patches

    def forward(self, batch: Any) -> Tokens:
        image = batch["image"] if isinstance(batch, dict) else batch
        if image.ndim != 5:
            return self.patches(batch)
        p, channels, sides = self.patches.patch_size, image.shape[1], tuple(image.shape[2:])
        if channels != self.patches.channels:
            raise ValueError(f"`channels` must be {channels}, as in the volumes, but is {self.patches.channels}.")
        if any(side % p for side in sides):
            near = "x".join(str(max(round(side / p), 1) * p) for side in sides)
            have = "x".join(str(side) for side in sides)
            raise ValueError(
                f"Sides of volumes must be multiples of `patch_size` {p}, but are {have}; nearest: {near}."
            )
        if not image.is_floating_point():
            image = image.to(self.patches.mean.dtype) / 255
        scaled = (image - self.patches.mean[..., None]) / self.patches.std[..., None]
        grid = Grid(tuple(side // p for side in sides))
        return Tokens(cut(scaled, grid, int(np.prod(grid.shape))), grid)

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """Images; volumes have no picture."""
        if isinstance(tokens.layout, Grid) and len(tokens.layout.shape) == 3:
            raise NotImplementedError("volumes have no picture.")
        return self.patches.render(tokens, hidden)


class UnifiedEncoder(Encoder):
    """A transformer on visible places, with a linear embedding of its own for patches and for cubes.

    Positions are fixed sines and cosines of the grid, whatever its size. Hidden places are dropped.

    Args:
        patch_size: side of a patch, and of a cube.
        channels: of images and volumes.
        width: D, a multiple of 12.
        depth: blocks.
        num_heads: attention heads; must divide ``width``.

    Raises:
        ValueError: an unfit width; when called, tokens on another layout, or a corruption that shows tokens.
    """

    not_in_every_batch = ("embed.2.weight", "embed.2.bias", "embed.3.weight", "embed.3.bias")

    def __init__(
        self, patch_size: int = 16, channels: int = 3, width: int = 768, depth: int = 12, num_heads: int = 12
    ) -> None:
        super().__init__()
        if width % 12:
            near = max(round(width / 12), 1) * 12
            raise ValueError(
                f"`width` must be a multiple of 12 for 2-D and 3-D positions, but is {width}; nearest: {near}."
            )
        self.width, self.num_layers = width, depth
        self.embed = nn.ModuleDict({str(n): nn.Linear(patch_size**n * channels, width) for n in (2, 3)})
        self.embed.apply(xavier)
        self.trunk = Transformer(width, depth, num_heads)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        if not isinstance(tokens.layout, Grid) or len(tokens.layout.shape) not in (2, 3):
            raise ValueError(f"Tokens must lie on a 2-D or 3-D Grid, but lie on a {tokens.layout}.")
        if mask is not None and mask.show is not None:
            raise ValueError("UnifiedEncoder sees visible places alone; use a corruption with `drop` 1.")
        rank = len(tokens.layout.shape)
        seen = None if mask is None else mask.seen
        table = sincos(tokens.layout, tokens.num_tokens, self.width, tokens.device)
        table = table.expand(tokens.num_samples, -1, -1)
        values = tokens.values if seen is None else seen.gather(tokens.values)
        x = self.embed[str(rank)](values)
        x = x + (table if seen is None else seen.gather(table)).to(x.dtype)
        if self.training:  # the other embedding has a gradient, of 0, in every step: processes must agree on it
            x = x + 0 * sum(weight.sum() for weight in self.embed[str(5 - rank)].parameters())
        valid = None if seen is None else seen.valid
        for block in self.trunk.blocks[: self.depth(layer)]:
            x = block(x, valid)
        return Latent(self.trunk.norm(x) if layer is None else x, seen)


class PredictorByRank(Predictor):
    """One predictor for images, another for volumes.

    Args:
        images: answers on 2-D grids.
        volumes: answers on 3-D grids.
    """

    def __init__(self, images: Predictor, volumes: Predictor) -> None:
        super().__init__()
        self.images, self.volumes = images, volumes

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        assert isinstance(places.layout, Grid)
        flat = len(places.layout.shape) == 2
        own, other = (self.images, self.volumes) if flat else (self.volumes, self.images)
        prediction: Prediction = own(latent, places, mask)
        if not self.training:
            return prediction
        nothing = 0 * sum(weight.sum() for weight in other.parameters())  # as in `UnifiedEncoder`
        return Prediction(prediction.values + nothing, prediction.asked, weights=prediction.weights)


def decoders(
    encoder_width: int, patch_size: int, channels: int, width: int, depth: int, num_heads: int
) -> PredictorByRank:
    """A decoder of pixels for each rank."""
    made = (TransformerPredictor(encoder_width, patch_size**n * channels, width, depth, num_heads) for n in (2, 3))
    return PredictorByRank(*made)
