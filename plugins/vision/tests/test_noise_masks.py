"""Noise masks: a policy's gradient, worked out; noise where it trains, none where codes are used."""

import pytest
import torch
import torch.nn.functional as F

from unmask import Corruption
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import NoiseMasks
from unmask_vision.noise_policy import POLICY, NoisePolicy, PolicyGradient, drawn, log_density


def made(**options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 4, options=sizes)
    return NoiseMasks(num_classes=3, patch_size=4, encoder=encoder, **options).eval()


def images(count=6):
    image = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return {"image": image, "label": torch.arange(count) % 3}


def test_the_gradient_of_the_score_is_that_of_the_expectation():
    """Of two numbers that a reward takes on, x below or above a half: P(x > t) = (1 - t^a)^b is known."""
    a, b = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (1.7, 0.8))
    lots = torch.rand(400_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = drawn(a.detach(), b.detach(), lots)
    reward = torch.where(x > 0.5, 3.0, -1.0)
    (reward * log_density(x, a, b)).mean().backward()
    found = a.grad.clone(), b.grad.clone()
    a.grad = b.grad = None
    above = (1 - 0.5**a) ** b
    (3.0 * above - (1 - above)).backward()
    torch.testing.assert_close(found[0], a.grad, atol=0.02, rtol=0)
    torch.testing.assert_close(found[1], b.grad, atol=0.02, rtol=0)
    assert abs(a.grad) > 0.2 and abs(b.grad) > 0.5


def test_draws_have_the_density():
    """By its own numbers: shares below the quartiles, and a density that sums to 1."""
    a, b = torch.tensor(1.7), torch.tensor(0.8)
    quarters = drawn(a, b, torch.tensor([0.25, 0.5, 0.75]))
    at = torch.linspace(1e-5, 1 - 1e-5, 200_001)
    density = log_density(at, a, b).exp()
    for x, share in zip(quarters, (0.25, 0.5, 0.75), strict=True):
        assert torch.trapezoid(density[at <= x], at[at <= x]).item() == pytest.approx(share, abs=2e-3)


@pytest.mark.parametrize("reward", ["harder", "easier"])
@pytest.mark.parametrize("per", ["pixel", "image"])
def test_the_loss_by_hand(per, reward):
    model = made(per=per, reward=reward, policy_weight=0.5)
    step = model.step(images(), 0)
    density = step.given.shown.made[POLICY]
    with torch.no_grad():
        scores = model.predictor.head(model.encoder(step.given.shown.tokens).values.mean(1))
        each = F.cross_entropy(scores, images()["label"], reduction="none")
    sign = 1 if reward == "harder" else -1
    policy = -(sign * (each - each.mean()) * density).mean()
    torch.testing.assert_close(step.terms["policy"], policy.detach())
    torch.testing.assert_close(step.loss.total, each.mean() + 0.5 * policy, rtol=1e-4, atol=1e-5)
    # Noise is that of shapes that the network chose, the same for a pixel's channels.
    factor = step.given.shown.tokens.values / step.tokens.values
    by_pixel = factor.view(6, 16, 16, 3)
    torch.testing.assert_close(by_pixel, by_pixel[..., :1].expand_as(by_pixel), rtol=1e-3, atol=1e-3)
    assert float(factor.min()) >= 0.5 - 1e-3 and float(factor.max()) <= 1.5 + 1e-3
    assert (factor.flatten(1).std(1) < 1e-3).all() == (per == "image")


def test_the_policy_learns_by_its_term_alone_and_the_classifier_by_its_loss():
    model = made()
    step = model.step(images(), 0)
    (step.loss.total - made().step(images(), 0).loss.total.detach()).backward()
    assert model.corruption.net.head.weight.grad.any()
    model.zero_grad()
    silent = made(policy_weight=0.0)
    silent.step(images(), 0).loss.total.backward()
    assert not any(p.grad is not None and p.grad.any() for p in silent.corruption.parameters())
    assert silent.encoder.vit.blocks[0].attn.qkv.weight.grad.any()


def test_no_policy_where_codes_are_used_and_plain_training_without_one():
    model, plain = made(policy_weight=0.0), made(corruption=Corruption(keep=1))
    assert torch.equal(model.embed(images()).values, plain.embed(images()).values)
    assert not plain.terms
    step = plain.step(images(), 0)
    scores = plain.predictor.head(plain.embed(images()).values.mean(1))
    torch.testing.assert_close(step.loss.total, F.cross_entropy(scores, images()["label"]))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="A batch must have `label` for `labels`"):
        made().step({"image": images()["image"]}, 0)
    with pytest.raises(ValueError, match="`strength` must be in"):
        NoisePolicy(strength=0)
    with pytest.raises(ValueError, match=r"`reward` must be 'harder' or 'easier', but is 'best'"):
        PolicyGradient(reward="best")
    with pytest.raises(ValueError, match=r"must be a `vision\.noise-policy`"):
        made(corruption=Corruption(keep=1), terms={"policy": PolicyGradient()}).step(images(), 0)
    with pytest.raises(ValueError, match="`num_classes` must be at least 2"):
        NoiseMasks(num_classes=1)


class TestNoiseMasks(MethodContract):
    def make(self):
        return made(policy_weight=0.01)

    def batch(self):
        return images()
