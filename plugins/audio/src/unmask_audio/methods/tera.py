"""TERA: restore frames altered in time, frequency and magnitude (Liu et al. 2021, arXiv:2007.06028)."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any

import torch

from unmask import (
    KEPT,
    Corruption,
    Loss,
    MaskSampler,
    Method,
    Optimization,
    Step,
    Target,
    chosen,
)
from unmask.losses import L1Loss
from unmask.masks import SpanMask
from unmask.targets import ValueTarget
from unmask_audio.alteration import Alteration
from unmask_audio.encoders.vit import SpectrogramViT
from unmask_audio.frontends import Fbank
from unmask_audio.predictors.frames import FramePredictor
from unmask_audio.tokenizer import AUDIOSET_STD, FrameTokenizer, SpectrogramTokenizer

SIZES = {
    # size: width, blocks, heads. The paper's are base, medium and large; tiny is ours.
    "tiny": (192, 3, 3),
    "base": (768, 3, 12),
    "medium": (768, 6, 12),
    "large": (768, 12, 12),
}


class TERA(Method):
    """A transformer sees all frames, some of them altered, and predicts all as they were.

    ``loss = mean over frames of mean(|predictor(codes) - frame|)``

    Args:
        size: ``tiny``, ``base``, ``medium`` or ``large``; None: ``base``.
        num_features: of a token: mel bins of a frame, or those of all frames that it holds; None: those of
            ``tokenizer``, or 80.
        mask: spans of 7 frames that hold 15% of them (section III).
        alteration: how frames are shown; its ``num_features`` are the front end's where it has none.
        encoder: None: a transformer of that size.
        predictor: None: two layers (section III).
        target: the frames themselves.
        loss: absolute error (section III).
        tokenizer: None: frames of ``num_features`` log-mel bins, of unit variance on AudioSet.
        optim: AdamW: rate 2e-4 at batch 32 (there scaled by no batch size), warmed up over 7% of the
            steps, which a recipe says.

    Differs from the paper as `Alteration` tells; in the transformer, whose norms come first here; and in that the count
    of hidden frames is exact. The released code counts errors at altered numbers only; the paper, as here, at all.

    Raises:
        ValueError: an unknown size, one beside an encoder, which has its own, or other features than the tokenizer's.
    """

    size: str | None = None
    num_features: int | None = None
    mask: MaskSampler = SpanMask(ratio=0.15, length=7)
    alteration: Alteration = Alteration()
    target: Target = ValueTarget()
    loss: Loss = L1Loss()
    corruption: Corruption = field(init=False)
    optim: Optimization = Optimization(base_lr=2e-4, scale_lr=False, weight_decay=0.01, betas=(0.9, 0.999))

    def complete(self) -> None:
        width, depth, num_heads = chosen("size", self.size or "base", SIZES)
        num_features = self.num_features
        if isinstance(self.tokenizer, SpectrogramTokenizer):
            held = self.tokenizer.patch[0] * self.tokenizer.patch[1]
            if num_features not in (None, held):
                raise ValueError(f"`num_features` must be that of `tokenizer`, {held} a token, but is {num_features}.")
            num_features = held
            if self.alteration.num_features is None:
                self.alteration = replace(self.alteration, num_features=self.tokenizer.frontend.width)
        num_features = num_features or 80
        self.tokenizer = self.tokenizer or FrameTokenizer(Fbank(num_bins=num_features), std=AUDIOSET_STD / 2)
        self.encoder = self.encoder or SpectrogramViT(width, depth, num_heads, num_features, class_token=False)
        self.predictor = self.predictor or FramePredictor(self.encoder.width, num_features)
        # What the alteration makes of frames in training; who shows frames without it shows them alike.
        self.corruption = Corruption(
            token=self.alteration.zero, random=self.alteration.random, keep=self.alteration.keep
        )

    def step(self, batch: Any, generator: torch.Generator | None = None) -> Step:
        """The step of `MaskedModel`, but that the encoder sees altered frames and all frames are asked for."""
        tokens = self.tokenizer(batch)  # values [B, N, V]
        mask = self.mask(tokens, self.progress, generator)  # hidden [B, N]
        mask = replace(
            mask,
            predict=torch.ones_like(mask.hidden) if mask.valid is None else mask.valid,
            num_predict=mask.hidden.shape[1] if mask.valid is None else None,
            show=torch.full_like(mask.hidden, KEPT, dtype=torch.int8),  # as the alteration leaves them
        )

        with torch.no_grad():
            target = self.target(tokens, mask)  # [B, N, V]
            altered = replace(tokens, values=self.alteration(tokens.values, mask, generator))

        latent = self.encoder(altered, mask)  # values [B, N, D]
        prediction = self.predictor(latent, tokens.places, mask)  # values [B, N, V]
        return self.with_terms(Step(tokens, mask, target, latent, prediction, self.loss(prediction, target)))
