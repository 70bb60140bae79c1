"""Maps of classes: patches of class numbers, their stem, target and loss (MultiMAE, Bachmann et al. 2022)."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Encoder, Given, Latent, Loss, Mask, Prediction, Target, Tokenizer, Tokens
from unmask.api import at_least
from unmask.nn import assembled, cut, sincos, xavier
from unmask_multimodal.maps.depth import drawn, grid_of


class LabelMapTokenizer(Tokenizer):
    """``[B, H, W]`` class numbers to patches of them ``[B, N, p * p]`` int64.

    Args:
        patch_size: p, side of a patch in pixels; must divide both sides.
        num_classes: class numbers are in [0, num_classes).
        key: of the batch.

    Raises:
        ValueError: a number below 1; when called, sides that do not fit, or a class number out of range.
    """

    def __init__(self, patch_size: int = 4, num_classes: int = 133, key: str = "labels") -> None:
        super().__init__()
        at_least(1, patch_size=patch_size, num_classes=num_classes)
        self.patch_size, self.num_classes, self.key = patch_size, num_classes, key

    def forward(self, batch: Any) -> Tokens:
        maps: Tensor = batch[self.key].long()
        least, most = int(maps.min()), int(maps.max())
        if least < 0 or most >= self.num_classes:
            wrong = least if least < 0 else most
            raise ValueError(f"`{self.key}` must hold class numbers in [0, {self.num_classes}), but holds {wrong}.")
        layout, count = grid_of(maps[:, None], self.patch_size, 1)
        return Tokens(cut(maps[:, None], layout, count), layout)

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        field = assembled(tokens.values.long(), tokens.layout)[:, 0]  # [B, H, W]
        pixels = colours(self.num_classes).to(field.device)[field.clamp(0, self.num_classes - 1)]
        return drawn(pixels.permute(0, 3, 1, 2), tokens, hidden)

    def raw(self, tokens: Tokens) -> Tensor:
        """One-hot classes of all pixels."""
        return F.one_hot(tokens.values, self.num_classes).flatten(1).float()


class LabelMapStem(Encoder):
    """A vector for each class number, a linear layer over those of a patch, and fixed positions; no layers.

    Args:
        width: D.
        patch_size: p of the tokens.
        num_classes: classes.
        class_width: of a class's vector. Paper: 64.

    Raises:
        ValueError: a number below 1; when called, tokens of another patch size.
    """

    num_layers = 0

    def __init__(self, width: int, patch_size: int = 4, num_classes: int = 133, class_width: int = 64) -> None:
        super().__init__()
        at_least(1, width=width, patch_size=patch_size, num_classes=num_classes, class_width=class_width)
        self.width, self.patch_size = width, patch_size
        self.classes = nn.Embedding(num_classes, class_width)
        self.project = nn.Linear(patch_size**2 * class_width, width)
        nn.init.trunc_normal_(self.classes.weight, std=0.02)
        self.project.apply(xavier)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """Rows of the places seen: there is one layer, 0."""
        seen = None if mask is None else mask.seen
        values = tokens.values if seen is None else seen.gather(tokens.values)  # [B, K, p * p]
        if values.shape[-1] != self.patch_size**2:
            raise ValueError(
                f"`patch_size` must be that of the tokens, whose {values.shape[-1]} pixels are no {self.patch_size}^2."
            )
        x = self.project(self.classes(values).flatten(2))
        table = sincos(tokens.layout, tokens.values.shape[1], self.width, x.device).expand(len(x), -1, -1)
        return Latent(x + (table if seen is None else seen.gather(table)).to(x.dtype), seen)


class LabelMapTarget(Target):
    """The class numbers of the asked patches, ``[B, M, p * p]``; in pictures the likeliest class of each pixel."""

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        return mask.asked.gather(tokens.values)

    def restore(self, prediction: Prediction, tokens: Tokens, mask: Mask) -> Tensor:
        return prediction.values.unflatten(-1, (tokens.values.shape[-1], -1)).argmax(-1)


class LabelMapLoss(Loss):
    """Cross-entropy of each pixel's class, the mean over the pixels of a patch. Answers are ``[B, M, p * p * C]``."""

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        logits = prediction.unflatten(-1, (target.shape[-1], -1)).float()  # [B, M, p * p, C]
        return F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none").view(target.shape).mean(-1)

    def check(self, prediction: Prediction, target: Tensor) -> None:
        if prediction.values.shape[-1] % target.shape[-1]:
            raise ValueError(
                f"`target_width` of the predictor must be classes times {target.shape[-1]}, the pixels of a patch, but "
                f"is {prediction.values.shape[-1]}."
            )


def colours(count: int) -> Tensor:
    """A colour for each class ``[C, 3]`` in [0, 1], the first one dark."""
    hues = [colorsys.hsv_to_rgb(number * 0.618 % 1, 0.6, 0.9) for number in range(count - 1)]
    return torch.tensor([(0.15, 0.15, 0.15), *hues])
