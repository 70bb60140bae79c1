"""StoP: I-JEPA whose mask tokens have stochastic positions."""

import pytest
import torch

from unmask.predictors import TransformerPredictor
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import IJEPA


def encoder():
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "class_token": False, "global_pool": "avg"}
    return ViTEncoder("vit_tiny_patch16_224", 32, 4, positions="sincos", options={**options, "fc_norm": False})


def made(noise=None, **options):
    torch.manual_seed(0)
    return IJEPA(patch_size=4, encoder=encoder(), position_noise=noise, **options)


def predictor(noise):
    return TransformerPredictor(32, 32, width=24, depth=1, num_heads=3, position_noise=noise)


@pytest.fixture
def batch():
    return {"image": torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))}


class TestStoP(MethodContract):
    def make(self):
        return IJEPA(patch_size=4, encoder=encoder(), predictor=predictor(0.25))

    def batch(self):
        return {"image": torch.rand(4, 3, 32, 32)}


def test_without_noise_it_is_ijepa_bit_for_bit(batch):
    plain, none, some = (made(noise).train() for noise in (None, 0.0, 0.25))
    loss = plain.step(batch, 0).loss.total
    assert torch.equal(none.step(batch, 0).loss.total, loss)
    assert not torch.equal(some.step(batch, 0).loss.total, loss)
    # Noise is of training alone, and the same for the same key.
    assert torch.equal(some.eval().step(batch, 0).loss.total, loss)
    some.train()
    assert torch.equal(some.step(batch, 0).loss.total, some.step(batch, 0).loss.total)


def test_the_covariance_of_the_noise_is_sigma_times_the_weights_square(batch):
    torch.manual_seed(0)
    ours = predictor(0.25)
    model = made()
    mask = model.step({"image": torch.rand(64, 3, 32, 32)}, 0).mask
    with torch.no_grad():
        draws = ours.noise(mask).flatten(0, -2)
        weight = ours.embed.weight
        expected = 0.25 * weight @ weight.T
    assert len(draws) > 2000
    found = draws.T @ draws / len(draws)
    assert (found - expected).abs().max() < 0.15 * expected.diagonal().max()
    assert draws.mean(0).abs().max() < 0.1


def test_the_projection_of_codes_learns_from_noise_as_well(batch):
    """The weight is tied: noise that is off would leave another gradient."""
    one, other = (IJEPA(patch_size=4, encoder=encoder(), predictor=predictor(0.25)).train() for _ in range(2))
    other.load_state_dict(one.state_dict())
    other.predictor.position_noise = 0.0
    for model in (one, other):
        model.step(batch, 0).loss.total.backward()
    assert not torch.allclose(one.predictor.embed.weight.grad, other.predictor.embed.weight.grad, rtol=1e-3)


def test_bad_noise_is_refused():
    with pytest.raises(ValueError, match="`position_noise` must be at least 0, but is -1"):
        made(-1.0)
    with pytest.raises(ValueError, match="`position_noise` must be left out when `predictor` is given"):
        made(0.25, predictor=predictor(0.0))
