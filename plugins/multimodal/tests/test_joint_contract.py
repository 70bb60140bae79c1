"""The contract of joint methods on two streams that read each other, where each part has layers of its own."""

import torch

from unmask import LossByPart, MaskedModel, PredictorByPart, TokenizerByPart
from unmask.losses import MSELoss
from unmask.masks import MaskByPart, RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask_multimodal.encoders import CrossTrunk, JointEncoder
from unmask_multimodal.testing import JointContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer


class TestTwoStreams(JointContract):
    no_alone = "a cross trunk works on two parts"

    def make(self):
        options = {"embed_dim": 24, "num_heads": 3, "depth": 1, "class_token": True, "global_pool": "token"}
        return MaskedModel(
            tokenizer=TokenizerByPart({name: PatchTokenizer(2, 1) for name in "ab"}, {n: {"image": n} for n in "ab"}),
            mask=MaskByPart({"a": RandomMask(0.75), "b": RandomMask(0.5)}),
            encoder=JointEncoder(
                {n: ViTEncoder("vit_tiny_patch16_224", 8, 2, 1, positions="sincos", options=options) for n in "ab"},
                CrossTrunk(24, 2, 3),
                part_embeddings=True,
            ),
            predictor=PredictorByPart({name: TransformerPredictor(24, 4, 16, 1, 2) for name in "ab"}),
            target=ValueTarget(),
            loss=LossByPart({name: MSELoss() for name in "ab"}),
        )

    def batch(self):
        return {name: torch.rand(6, 1, 8, 8) for name in "ab"}
