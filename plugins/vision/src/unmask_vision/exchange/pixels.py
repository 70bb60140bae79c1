"""What layouts of images share: pixels to compare codes on, means and deviations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from unmask import MaskedModel
from unmask_vision.tokenizer import PatchTokenizer


def random_images(model: MaskedModel, num_samples: int = 2) -> Tensor:
    """``[B, C, H, W]`` float32 in [0, 1], of the size that the encoder takes; the same each time."""
    encoder = cast(Any, model.embedder.encoder)
    tokenizer = cast(PatchTokenizer, model.embedder.tokenizer)
    cell = getattr(encoder, "stride", tokenizer.patch_size)  # of the encoder's grid
    shape = (num_samples, tokenizer.channels, *(side * cell for side in encoder.grid))
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def normalized(model: MaskedModel, images: Tensor) -> Tensor:
    """Images as a model of another library takes them: mean subtracted, divided by the deviation."""
    tokenizer = cast(PatchTokenizer, model.embedder.tokenizer)
    return (images - tokenizer.mean.cpu()) / tokenizer.std.cpu()


def codes(model: MaskedModel, images: Tensor) -> Tensor:
    """The embedder's, prefix tokens first: ``[B, P + N, D]``."""
    latent = model.embed({"image": images})
    return latent.values if latent.prefix is None else torch.cat([latent.prefix, latent.values], dim=1)


def preprocessing(model: MaskedModel) -> tuple[list[float], list[float]]:
    """Means and deviations per channel, for pixels in [0, 1]."""
    tokenizer = cast(PatchTokenizer, model.embedder.tokenizer)
    mean, std = (x.flatten().double().tolist() for x in (tokenizer.mean, tokenizer.std))
    return [round(x, 7) for x in mean], [round(x, 7) for x in std]


def caution(model: MaskedModel, mean: Sequence[float] | None, std: Sequence[float] | None) -> list[str]:
    """A sentence where the tokenizer normalises otherwise than the source says it did."""
    if mean is None or std is None:
        return []
    theirs, own = (list(mean), list(std)), preprocessing(model)
    lengths = len(theirs[0]) == len(own[0]) and len(theirs[1]) == len(own[1])
    if lengths and all(abs(a - b) < 1e-3 for x, y in zip(theirs, own, strict=True) for a, b in zip(x, y, strict=True)):
        return []
    return [
        f"Its pixels were normalised by mean {theirs[0]} and std {theirs[1]}, but `model.tokenizer` of the config "
        f"has {own[0]} and {own[1]}."
    ]
