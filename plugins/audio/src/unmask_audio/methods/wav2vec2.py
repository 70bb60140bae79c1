"""wav2vec 2.0: tell quantised hidden frames from each other (Baevski et al. 2020, arXiv:2006.11477)."""

from __future__ import annotations

from dataclasses import field

import torch

from unmask import (
    MADE,
    Corruption,
    MaskSampler,
    Method,
    Optimization,
    Schedule,
)
from unmask.api import at_least
from unmask.predictors import LinearPredictor
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.masks.time_span import TimeSpanMask
from unmask_audio.methods.speech_sizes import SpeechSize, Style, speech_encoder, wave_tokenizer
from unmask_audio.speech.contrast import ContrastiveLoss
from unmask_audio.speech.quantized_target import QuantizedTarget
from unmask_audio.speech.quantizer import GumbelQuantizer
from unmask_audio.speech.schedule import Exponential
from unmask_audio.speech.terms import Diversity, FeaturePenalty
from unmask_audio.speech.tokenizer import WaveTokenizer


class Wav2Vec2(Method):
    """Hidden frames are replaced behind the stem; their codes must be nearer to their own quantised features than to
    those of other hidden frames of the clip.

    ``loss = contrast + diversity_weight * (G V - perplexity) / (G V) + feature_penalty * mean(stem features^2)``

    Quantised features are part of what is trained, so this target has a gradient.

    Args:
        style: kind of transformers' model: ``hubert``, ``wav2vec2`` or ``wavlm``; None: ``wav2vec2``.
        size: ``tiny`` or ``base``; None: ``base``.
        num_codebooks: G (section 4.2).
        num_entries: V of each codebook (section 4.2).
        codebook_width: of the entries of all codebooks side by side. Release, base size: 256.
        target_width: that codes and quantised features are projected to. Release, base size: 256.
        temperature: of the Gumbel softmax, above 0 (section 4.2: 2 to 0.5, by 0.999995 a step).
        diversity_weight: at least 0 (section 4.2).
        feature_penalty: at least 0 (section 4.2: "an L2 penalty"; release: 10).
        mask: starts at 6.5% of the frames, runs of 10 (section 4.2).
        encoder: None: of that style and size.
        predictor: None: one layer (release).
        loss: 100 others, temperature 0.1 (section 4.2).
        corruption: hidden frames are shown as a learned vector (section 3.1).
        tokenizer: None: windows of the encoder's stem, at the rate of its weights, or 16 kHz.
        optim: AdamW of section 4.2 and the release, base size: rate 5e-4 at 1.6 hours (some 370 clips) a batch, 32,000
            warm-up steps of 400,000, decay 0.01.

    Differs from the released code in that hidden frames alone are quantised, which changes no number; in training,
    in what "the same target" is (the same entries; there, sums that may differ by rounding); in the average over hidden
    frames, where there is a sum; and in the decay of the rate, which is linear there and a cosine here.

    Raises:
        ValueError: a number outside its range, an unknown size, an encoder that does not norm its features, or a
            tokenizer of other frames.
    """

    style: Style | None = None
    size: SpeechSize | None = None
    num_codebooks: int = 2
    num_entries: int = 320
    codebook_width: int = 256
    target_width: int = 256
    temperature: float | Schedule = Exponential(start=2.0, end=0.5, factor=0.999995)
    diversity_weight: float = 0.1
    feature_penalty: float = 10.0
    tokenizer: WaveTokenizer = MADE
    mask: MaskSampler = TimeSpanMask(start_ratio=0.065)
    encoder: SpeechEncoder = MADE
    target: QuantizedTarget = field(init=False)
    loss: ContrastiveLoss = ContrastiveLoss()
    corruption: Corruption = Corruption(token=1)
    optim: Optimization = Optimization(base_lr=3.5e-4, weight_decay=0.01, betas=(0.9, 0.98), warmup_steps=32_000)

    encoder_options = ("style", "size")

    def complete(self) -> None:
        at_least(0, diversity_weight=self.diversity_weight, feature_penalty=self.feature_penalty)
        if not isinstance(self.temperature, Schedule) and self.temperature <= 0:
            raise ValueError(f"`temperature` must be above 0, but is {self.temperature}.")
        if not isinstance(self.loss, ContrastiveLoss):
            raise ValueError(f"`loss` must be a `ContrastiveLoss`, but is a {type(self.loss).__name__}.")
        self.encoder = speech_encoder(self.encoder, self.style, self.size, "wav2vec2")
        self.encoder.normed(torch.zeros(1, self.encoder.stem_width))  # refuses an encoder that cannot
        self.tokenizer = wave_tokenizer(self.tokenizer, self.encoder)
        dropout = getattr(self.encoder.model.config, "feat_quantizer_dropout", 0.0)
        quantizer = GumbelQuantizer(self.encoder.stem_width, self.num_codebooks, self.num_entries, self.codebook_width)
        self.predictor = self.predictor or LinearPredictor(self.encoder.width, self.target_width)
        self.target = QuantizedTarget(quantizer, self.codebook_width, self.target_width, self.temperature, dropout)
        if self.diversity_weight:
            self.terms = {"diversity": Diversity(self.diversity_weight), **self.terms}
        if self.feature_penalty:
            self.terms = {"feature_penalty": FeaturePenalty(self.feature_penalty), **self.terms}
