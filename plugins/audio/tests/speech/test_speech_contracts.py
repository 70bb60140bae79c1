"""The contracts of core, kept by the parts of speech methods."""

from typing import ClassVar

import torch

from unmask import Corruption, Sequence, Tokens
from unmask.testing import (
    EncoderContract,
    LossContract,
    MethodContract,
    PredictorContract,
    TargetContract,
)
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.masks.time_span import TimeSpanMask
from unmask_audio.methods.hubert import HuBERT
from unmask_audio.methods.wav2vec2 import Wav2Vec2
from unmask_audio.speech import WaveTokenizer
from unmask_audio.speech.cluster_head import ClusterHead
from unmask_audio.speech.clusters import ClusterTarget
from unmask_audio.speech.contrast import ContrastiveLoss
from unmask_audio.speech.sources import Cepstra, LayerCodes

SHOWN = (Corruption(token=1), Corruption(random=1), Corruption(token=0.5, random=0.5))
APART = {  # a stem of windows side by side, each normed by itself: there, frames are apart from the first sample on
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 8),
    "conv_kernel": (8, 4),
    "conv_stride": (8, 4),
    "feat_extract_norm": "layer",
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
} | dict.fromkeys(("hidden_dropout", "activation_dropout", "attention_dropout", "layerdrop"), 0.0)


def waves(ragged=False):
    wave = torch.randn(4, 32 * 14)
    return {"wave": wave, "length": torch.tensor([448, 448, 300, 160])} if ragged else {"wave": wave}


def tokens(ragged=False):
    found = WaveTokenizer(32, 32, normalize=False)(waves(ragged))
    return Tokens(found.values.contiguous(), found.layout, valid=found.valid)


def encoder(kind="hubert"):
    return SpeechEncoder({"model_type": kind, **APART})


class TestHuBERTEncoder(EncoderContract):
    corruptions = SHOWN
    kind = "hubert"

    def make(self):
        return encoder(self.kind)

    def tokens(self):
        return tokens()


class TestWav2Vec2Encoder(TestHuBERTEncoder):
    kind = "wav2vec2"


class TestWavLMEncoder(TestHuBERTEncoder):
    kind = "wavlm"


class TestPaddedEncoder(TestHuBERTEncoder):
    def tokens(self):
        return tokens(ragged=True)


class TestContrastiveLoss(LossContract):
    def make(self):
        return ContrastiveLoss(num_negatives=20)


class TestClusterHead(PredictorContract):
    corruptions = SHOWN
    encoder_width = 16

    def make(self):
        return ClusterHead(16, [7], width=8)

    def tokens(self):
        return Tokens(torch.zeros(3, 14, 32), Sequence())


class TestClusters(TargetContract):
    def make(self):
        target = ClusterTarget(self.source(), [7])
        target.fit(lambda: iter([tokens()]), 56, 0, lambda done: None)
        return target

    def source(self):
        return Cepstra(WaveTokenizer(32, 32, sample_rate=1600))

    def tokens(self):
        return tokens()


class TestClustersOfALayer(TestClusters):
    def source(self):
        return LayerCodes(encoder("wavlm"), 1)


class TestHuBERT(MethodContract):
    unused = ("k_proj.bias",)  # scores that all change alike change no attention
    num_steps = 30
    options: ClassVar[dict] = {"num_clusters": 7}

    def make(self):
        model = HuBERT(
            encoder=encoder(),
            mask=TimeSpanMask(0.2, length=3),
            tokenizer=WaveTokenizer(32, 32, sample_rate=1600),
            **self.options,
        )
        model.target.fit(lambda: iter([model.tokenizer(waves())]), 56, 0, lambda done: None)
        return model

    def batch(self):
        return waves()


class TestHuBERTWithSeveralCodebooksOfALayer(TestHuBERT):
    options: ClassVar[dict] = {"num_clusters": [7, 4], "teacher_layer": 1, "visible_weight": 0.5}

    def test_each_codebook_has_answers_of_its_own(self):
        step = self._step(self._ready())
        assert step.prediction.values.shape[1] == step.target.shape[1] == 2
        assert step.objectives["visible"].prediction.values.shape[1] == 2


class TestWav2Vec2(MethodContract):
    unused = ("k_proj.bias",)
    num_steps = 30
    overrides = {
        "test_the_gradient_reaches_all_of_the_encoder_and_none_of_the_target": "the quantiser is trained, too",
    }

    def make(self):
        return Wav2Vec2(
            encoder=encoder("wav2vec2"),
            mask=TimeSpanMask(0.2, length=3),
            tokenizer=WaveTokenizer(32, 32),
            num_entries=5,
            codebook_width=8,
            target_width=8,
        )

    def batch(self):
        return waves()

    def test_the_gradient_reaches_all_of_the_encoder_and_none_of_the_target(self):
        model = self._ready().train()
        self._step(model).loss.total.backward()
        for name, parameter in [*model.encoder.named_parameters(), *model.target.named_parameters()]:
            reached = parameter.grad is not None and bool(parameter.grad.any())
            assert reached or name.endswith(self.unused), name
