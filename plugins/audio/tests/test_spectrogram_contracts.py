"""Encoders, predictors and methods of spectrograms keep the contracts of their families."""

import torch

from unmask import Corruption, Grid, Sequence, Tokens
from unmask.predictors import TransformerPredictor
from unmask.testing import EncoderContract, MethodContract, PredictorContract
from unmask_audio.alteration import Alteration
from unmask_audio.encoders.vit import SpectrogramViT
from unmask_audio.frontends import Fbank
from unmask_audio.masks import CurriculumMask, TimeFrequencyBlockMask
from unmask_audio.methods.a_jepa import AJEPA
from unmask_audio.methods.audio_mae import AudioMAE
from unmask_audio.methods.tera import TERA
from unmask_audio.predictors import FramePredictor, LocalDecoder
from unmask_audio.tokenizer import FrameTokenizer, SpectrogramTokenizer

VALID = (torch.arange(6)[:, None] < torch.tensor([6, 4, 2])[:, None, None]).expand(3, 6, 4).flatten(1)


class TestSpectrogramViT(EncoderContract):
    corruptions = (Corruption(drop=1), Corruption(token=1), Corruption(token=0.5, random=0.5))

    def make(self):
        return SpectrogramViT(16, 2, 2, 12, mask_token=True)

    def tokens(self):
        return Tokens(torch.randn(3, 24, 12), Grid((6, 4)), valid=VALID)


class TestLocalDecoder(PredictorContract):
    encoder_width = 16

    def make(self):
        return LocalDecoder(16, 12, 24, 2, 2, window=(4, 2), shift=(2, 1))

    def tokens(self):
        return Tokens(torch.randn(3, 24, 12), Grid((6, 4)), valid=VALID)


class TestFramePredictor(PredictorContract):
    encoder_width = 16
    corruptions = (Corruption(token=1),)

    def make(self):
        return FramePredictor(16, 12)

    def tokens(self):
        return Tokens(torch.randn(3, 24, 12), Sequence())


class _OnWaves(MethodContract):
    def batch(self):
        return {"wave": 0.1 * torch.randn(4, 5240)}  # 64 frames of 10 ms at 8 kHz


def _spectrogram(kind=SpectrogramTokenizer, **options):
    return kind(Fbank(8000, 16), 64, mean=-6.0, std=2.0, **options)


class TestAudioMAE(_OnWaves):
    def make(self):
        return AudioMAE(
            patch=(8, 4),
            tokenizer=_spectrogram(patch=(8, 4)),
            encoder=SpectrogramViT(16, 2, 2, 32),
            predictor=LocalDecoder(16, 32, 16, 2, 2),
        )


class TestAJEPA(_OnWaves):
    def make(self):
        return AJEPA(
            patch=(8, 4),
            mask=CurriculumMask(second=TimeFrequencyBlockMask(min_keep=4), share=0.5),
            tokenizer=_spectrogram(patch=(8, 4)),
            encoder=SpectrogramViT(16, 2, 2, 32, class_token=False),
            predictor=TransformerPredictor(16, 16, 16, 1, 2),
        )


class TestTERA(_OnWaves):
    def make(self):
        return TERA(
            num_features=16,
            corruption=Alteration(zero=0.8, random=0.2, keep=0.0),
            tokenizer=_spectrogram(FrameTokenizer),
            encoder=SpectrogramViT(16, 2, 2, 16, class_token=False),
        )
