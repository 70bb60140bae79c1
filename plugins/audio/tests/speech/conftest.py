"""Shared by the tests of speech methods: small models, clips of several lengths, masks that a test gives."""

import pytest
import torch
from torch import Tensor

from unmask.testing import GivenMask, shaken

WINDOW, HOP = 400, 320
FRAMES = (31, 21, 8)
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
STILL = dict.fromkeys(
    ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "layerdrop"), 0.0
)
NORMS = {
    "group": {},
    "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}
DATA2VEC = {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
"""Three convolutions for positions; all layers of its stem are normed."""


@pytest.fixture
def given_mask():
    return GivenMask


@pytest.fixture
def settings():
    """Settings of a small model of one kind, with the papers' stem, in which nothing is dropped."""

    def make(kind: str = "hubert", norm: str = "group", **others) -> dict:
        own = DATA2VEC if kind == "data2vec-audio" else NORMS[norm]
        return {"model_type": kind, **SMALL, **STILL, **own, **others}

    return make


@pytest.fixture
def clips():
    """Three clips of whole windows, of 31, 21 and 8 frames; alike in length where not ``ragged``."""

    def make(ragged: bool = True, seed: int = 0) -> dict[str, Tensor]:
        frames = FRAMES if ragged else FRAMES[:1] * 3
        length = torch.tensor([WINDOW + (count - 1) * HOP for count in frames])
        wave = torch.randn(3, int(length.max()), generator=torch.Generator().manual_seed(seed))
        wave = wave.masked_fill(torch.arange(wave.shape[1]) >= length[:, None], 0)
        return {"wave": wave, "length": length} if ragged else {"wave": wave}

    return make


@pytest.fixture
def some_hidden():
    """``[3, 31]`` bool, half of it True, some of each row's first 8 places and not all."""
    hidden = torch.rand(3, 31, generator=torch.Generator().manual_seed(4)) < 0.5
    hidden[:, 1:3], hidden[:, 5] = True, False
    return hidden


@pytest.fixture
def shake():
    return shaken
