"""TERA: restore frames altered in time, frequency and magnitude (Liu et al. 2021, arXiv:2007.06028)."""

from __future__ import annotations

import copy

from unmask import (
    Loss,
    MaskSampler,
    Method,
    Optimization,
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
        corruption: how frames are shown; its ``num_features`` are the front end's where it has none.
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
    target: Target = ValueTarget()
    loss: Loss = L1Loss()
    corruption: Alteration = Alteration()
    optim: Optimization = Optimization(base_lr=2e-4, scale_lr=False, weight_decay=0.01, betas=(0.9, 0.999))

    ask = "all"

    def complete(self) -> None:
        width, depth, num_heads = chosen("size", self.size or "base", SIZES)
        num_features = self.num_features
        if isinstance(self.tokenizer, SpectrogramTokenizer):
            held = self.tokenizer.patch[0] * self.tokenizer.patch[1]
            if num_features not in (None, held):
                raise ValueError(f"`num_features` must be that of `tokenizer`, {held} a token, but is {num_features}.")
            num_features = held
            if self.corruption.num_features is None:
                self.corruption = copy.copy(self.corruption)
                self.corruption.num_features = self.tokenizer.frontend.width
        num_features = num_features or 80
        self.tokenizer = self.tokenizer or FrameTokenizer(Fbank(num_bins=num_features), std=AUDIOSET_STD / 2)
        self.encoder = self.encoder or SpectrogramViT(width, depth, num_heads, num_features, class_token=False)
        self.predictor = self.predictor or FramePredictor(self.encoder.width, num_features)
