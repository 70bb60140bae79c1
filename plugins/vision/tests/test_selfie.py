"""Selfie: codes of patches by themselves, one vector of the visible ones, and a choice among the hidden ones."""

import math

import pytest
import timm
import torch
import torch.nn.functional as F

from unmask import Corruption, Objective
from unmask.masks import RandomMask
from unmask.nn import sincos
from unmask.predictors import AttentionPooledPredictor
from unmask.testing import EncoderContract, MethodContract, PredictorContract, shaken
from unmask_vision.encoders import CNNEncoder, PatchwiseEncoder
from unmask_vision.methods import Selfie
from unmask_vision.tokenizer import PatchTokenizer

OPTIONS = {"depths": [1, 1, 1, 1], "dims": [8, 16, 16, 16], "kernel_sizes": 3, "patch_size": 1}


def images(count=4):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def encoder():
    return PatchwiseEncoder(CNNEncoder("convnextv2_atto", levels=1, stride=2, options=OPTIONS))


def made(**options):
    torch.manual_seed(0)
    predictor = AttentionPooledPredictor(16, 16, width=24, depth=1, num_heads=3)
    given = {"patch_size": 4, "encoder": encoder(), "predictor": predictor, **options}
    return Selfie(**given).eval()


class TestSelfie(MethodContract):
    def make(self):
        return shaken(made(mask=RandomMask(0.5)), 0.05)

    def batch(self):
        return images()


class TestPatchwiseEncoder(EncoderContract):
    corruptions = (Corruption(drop=1), Corruption(random=1))

    def make(self):
        return encoder()

    def tokens(self):
        return PatchTokenizer(4)(images())


class TestAttentionPooledPredictor(PredictorContract):
    encoder_width = 16

    def make(self):
        return AttentionPooledPredictor(16, 5, width=24, depth=1, num_heads=3)

    def tokens(self):
        return PatchTokenizer(4)(images())


def test_a_code_is_the_mean_of_timms_map_of_this_patch_alone():
    model = shaken(made(encoder=PatchwiseEncoder(CNNEncoder("resnet18", levels=1, stride=16))), 0.05)
    model = model.eval()
    net = timm.create_model("resnet18", num_classes=0).eval()
    found = net.load_state_dict(model.encoder.net.net.state_dict(), strict=False)
    assert all(name.startswith("layer4.") for name in found.missing_keys) and not found.unexpected_keys
    tokens = model.tokenizer(images(1))
    patch = images(1)["image"][:, :, 4:8, 8:12].sub(model.tokenizer.mean).div(model.tokenizer.std)
    with torch.no_grad():
        x = net.maxpool(net.act1(net.bn1(net.conv1(patch))))
        expected = net.layer3(net.layer2(net.layer1(x))).mean((2, 3))
        codes = model.encoder(tokens).values
    torch.testing.assert_close(codes[0, 1 * 4 + 2], expected[0])
    assert codes.shape == (1, 16, 256)


def test_the_loss_is_torchs_cross_entropy_of_the_scores():
    model = shaken(made(mask=RandomMask(0.5)), 0.05)
    step = model.step(images(), 0)
    every = model.encoder(step.tokens).values  # patches by themselves: hidden or not is no matter
    h = step.mask.asked.gather(every)  # [B, M, D]
    torch.testing.assert_close(step.target, h)
    scores = step.prediction.values @ h.mT
    right = torch.arange(8).expand(4, -1)
    torch.testing.assert_close(step.loss.total, F.cross_entropy(scores.flatten(0, 1), right.flatten()))


def test_answers_of_one_sample_differ_by_their_place_alone():
    model = shaken(made())
    step = model.step(images(), 0)
    heads = model.predictor
    where = heads.place_head(sincos(step.tokens.layout, 16, 24))[step.mask.asked.index]
    whole = step.prediction.values - where
    torch.testing.assert_close(whole, whole[:, :1].expand_as(whole))
    assert not torch.allclose(whole[0], whole[1])


def test_who_knows_nothing_loses_the_log_of_the_choices():
    model = made()
    for head in (model.predictor.head, model.predictor.place_head):
        torch.nn.init.zeros_(head.weight)
    assert model.step(images(), 0).loss.total.item() == pytest.approx(math.log(4), rel=1e-6)
    # Random codes that know nothing of each other lose no less on average.
    generator = torch.Generator().manual_seed(0)
    answers, codes = 0.3 * torch.randn(2, 200, 4, 16, generator=generator)
    chance = model.loss.per_token(answers, codes, None).mean().item()
    assert chance == pytest.approx(math.log(4), abs=0.1)
    assert chance > math.log(4)


def test_both_sides_have_a_gradient():
    """Of the hidden patches' codes as well: with answers held fixed, the network still learns."""
    model = made().train()
    answers = model.predictor.register_forward_hook(
        lambda module, given, out: type(out)(out.values.detach(), out.asked)
    )
    model.step(images(), 0).loss.total.backward()
    answers.remove()
    assert all(p.grad is None for p in model.predictor.parameters())
    assert sum(p.grad.abs().sum() for p in model.encoder.parameters() if p.grad is not None) > 0


def test_answers_at_other_places_are_refused():
    model = made(objectives={"more": Objective("visible")})
    with pytest.raises(ValueError, match="`ask` must be 'hidden' for `own-codes`"):
        model.step(images(), 0)
