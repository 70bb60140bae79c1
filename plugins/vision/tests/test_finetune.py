"""Fine-tuning timm's encoders: stochastic depth as timm itself would build it, and learning rates by block."""

from __future__ import annotations

import pytest
import timm
from timm.layers import DropPath as TimmDropPath

from unmask.api import DropPath, set_drop_path
from unmask_vision.encoders import SwinV2Encoder, ViTEncoder

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3}
SWIN = {"img_size": 64, "embed_dim": 12, "depths": (2, 2, 2, 2), "num_heads": (1, 1, 2, 2), "window_size": 2}


def ratios(module):
    return {
        name: pytest.approx(part.ratio if isinstance(part, DropPath) else part.drop_prob)
        for name, part in module.named_modules()
        if isinstance(part, DropPath | TimmDropPath)
    }


@pytest.mark.parametrize("built_with", [0.0, 0.4])
@pytest.mark.parametrize("kind", ["vit", "eva", "swin"])
def test_stochastic_depth_is_timms(kind, built_with):
    name = {"vit": "vit_tiny_patch16_224", "eva": "vit_small_patch16_rope_224", "swin": "swinv2_tiny_window8_256"}[kind]
    options = dict(SWIN if kind == "swin" else VIT)
    theirs = ratios(timm.create_model(name, num_classes=0, drop_path_rate=0.3, **options))
    assert len(theirs) >= 6
    size = options.pop("img_size")
    patch = {} if kind == "swin" else {"patch_size": options.pop("patch_size")}
    make = SwinV2Encoder if kind == "swin" else ViTEncoder
    encoder = make(name, size, **patch, drop_path_ratio=built_with, options=options)
    weights = list(encoder.state_dict())
    set_drop_path(encoder, 0.3)
    own = ratios(encoder.swin if kind == "swin" else encoder.vit)
    assert {name: ratio for name, ratio in own.items() if ratio != pytest.approx(0)} == theirs
    assert list(encoder.state_dict()) == weights
