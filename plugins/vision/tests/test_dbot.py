"""dBOT: features of a teacher in place of pixels, and stages."""

import pytest
import torch
import torch.nn.functional as F
from transformers import ViTMAEConfig, ViTMAEModel

from unmask import Progress
from unmask.losses import SmoothL1Loss
from unmask.predictors import TransformerPredictor
from unmask.targets import FrozenTeacher, ValueTarget
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.exchange import to_transformers
from unmask_vision.methods import DBOT, MAE
from unmask_vision.tokenizer import PatchTokenizer

OPTIONS = {"embed_dim": 32, "depth": 2, "num_heads": 4}


def made(kind=DBOT, width=32, **options):
    torch.manual_seed(0)
    parts = {
        "encoder": ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", options=OPTIONS),
        "predictor": TransformerPredictor(32, width, width=24, depth=1, num_heads=2),
    }
    return kind(patch_size=4, **{**parts, **options})


class TestDBOT(MethodContract):
    lr = 3e-3

    def make(self):
        return made()

    def batch(self):
        return {"image": torch.rand(4, 3, 16, 16)}


def test_targets_equal_transformers(given_mask, some_hidden):
    """States after the last block, before the final norm, each over its own deviation."""
    hidden = some_hidden(3, 16, 12)
    ours = made(mask=given_mask(hidden), tokenizer=PatchTokenizer(4, mean=[0.0] * 3, std=[1.0] * 3)).eval()
    with torch.no_grad():
        for parameter in ours.target.teacher.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    config = ViTMAEConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, image_size=16, patch_size=4,
        layer_norm_eps=1e-6, mask_ratio=0.0,
    )  # fmt: skip
    theirs = ViTMAEModel(config).eval()
    mae = made(MAE, 48)
    mae.encoder.load_state_dict(ours.target.teacher.state_dict())
    weights = {k.removeprefix("vit."): v for k, v in to_transformers(mae).items() if k.startswith("vit.")}
    theirs.load_state_dict(weights, strict=True)
    image = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        step = ours.step({"image": image})
        # Least noise first, so nothing is shuffled.
        states = theirs(image, noise=torch.arange(16.0).expand(3, -1), output_hidden_states=True).hidden_states[-1]
    codes = states[:, 1:][hidden].view(3, 12, 32)
    target = (codes - codes.mean(-1, keepdim=True)) / (codes.var(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(step.target, target, rtol=1e-4, atol=1e-5)
    expected = F.smooth_l1_loss(step.prediction.values, target, beta=2.0)
    torch.testing.assert_close(step.loss.total, expected, rtol=1e-4, atol=1e-6)


def test_with_pixels_as_the_target_it_is_mae_bit_for_bit():
    ours = made(width=48, target=ValueTarget(normalize=True), loss=SmoothL1Loss(2.0)).eval()
    mae = made(MAE, width=48, loss=SmoothL1Loss(2.0)).eval()
    batch = {"image": torch.rand(3, 3, 16, 16)}
    assert torch.equal(ours.step(batch, 0).loss.total, mae.step(batch, 0).loss.total)


def test_a_stage_ends_with_a_new_teacher_and_a_new_student():
    """All of a student: encoder and decoder."""
    model = made(num_stages=2)
    with torch.no_grad():
        for parameter in [*model.encoder.parameters(), *model.predictor.parameters()]:
            parameter.add_(1.0)
    trained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.target.update(model, Progress(step=4, total_steps=10))  # the fifth of ten
    fixed = ("pos_embed", "norm")
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(model.target.teacher.state_dict()[name], trained[f"encoder.{name}"])
        assert not torch.equal(tensor, trained[f"encoder.{name}"]), name
    for name, tensor in model.predictor.state_dict().items():
        assert not torch.equal(tensor, trained[f"predictor.{name}"]), name
    another = made().encoder.state_dict()
    assert all(torch.equal(t, another[n]) for n, t in model.encoder.state_dict().items() if any(f in n for f in fixed))
    assert not torch.equal(model.encoder.vit.patch_embed.proj.weight, another["vit.patch_embed.proj.weight"])


def test_stages_are_refused_beside_a_target():
    with pytest.raises(ValueError, match="`num_stages` must be left out when `target` is given"):
        made(num_stages=2, target=FrozenTeacher(made().encoder))
    with pytest.raises(ValueError, match="`num_stages` must be at least 1, but is 0"):
        made(num_stages=0)


def test_depths_of_the_paper():
    model = DBOT(size="tiny", image_size=32)
    assert model.target.layer == 12 and model.target.num_stages == 2
    assert model.predictor.head.out_features == 192
