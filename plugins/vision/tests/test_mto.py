"""Masked token optimisation: a term of any method whose encoder sees mask tokens."""

import types

import pytest
import torch
import torch.nn.functional as F

from unmask import Latent
from unmask.masks import RandomMask
from unmask.terms import Singularity
from unmask.testing import MethodContract, TermContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import MAE, SimMIM


def made(**terms):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 4, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 4, mask_token=True, options=sizes)
    return SimMIM(patch_size=4, encoder=encoder, mask=RandomMask(0.5), terms=terms).eval()


def images(count=4):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))}


def test_without_weight_it_is_simmim_bit_for_bit():
    ours, simmim = made(singularity=Singularity(0.0)), made()
    simmim.load_state_dict(ours.state_dict())
    assert torch.equal(ours.step(images(), 0).loss.total, simmim.step(images(), 0).loss.total)


def test_the_loss_by_hand():
    """Pair by pair, layer by layer, with codes that the encoder makes of itself again."""
    model = made(singularity=Singularity(0.5, decay=0.25))
    step = model.step(images(), 0)
    total = 0.0
    with torch.no_grad():
        for layer, weight in ((1, 1.0), (2, 0.25)):  # half of four
            codes = model.encoder(step.given.shown.tokens, step.mask, layer).values
            squares = [
                F.cosine_similarity(codes[b, i], codes[b, j], dim=0) ** 2
                for b in range(4)
                for i in range(16)
                for j in range(16)
                if step.mask.hidden[b, i] and not step.mask.hidden[b, j]
            ]
            assert len(squares) == 4 * 64
            total += weight * sum(squares) / len(squares) / 1.25
        plain = made()
        plain.load_state_dict(model.state_dict())
        expected = plain.step(images(), 0).loss.total + 0.5 * total
    torch.testing.assert_close(step.terms["singularity"], total)
    torch.testing.assert_close(step.loss.total, expected)


def test_codes_at_right_angles_cost_nothing_and_equal_ones_one():
    step = made(singularity=Singularity()).step(images(), 0)
    hidden = step.mask.hidden[..., None].float()
    apart = Latent(torch.cat([hidden, 1 - hidden], dim=-1))
    alike = Latent(torch.ones(4, 16, 2))
    term = Singularity(layers=[1])
    for codes, expected in ((apart, 0.0), (alike, 1.0)):
        given = step._replace(latent=Latent(codes.values, inner={1: codes}))
        assert term(given, None).item() == pytest.approx(expected, abs=1e-6)


def test_dropped_patches_are_refused():
    model = MAE(size="tiny", image_size=32, patch_size=8, terms={"singularity": Singularity()})
    with pytest.raises(ValueError, match="`singularity` needs a code at every place"):
        model.step({"image": torch.rand(2, 3, 32, 32)}, 0)
    with pytest.raises(ValueError, match="`decay` must be in"):
        Singularity(decay=0)


class TestMTO(MethodContract):
    def make(self):
        return made(singularity=Singularity())

    def batch(self):
        return images()


class TestSingularity(TermContract):
    def make(self):
        return Singularity()

    def model(self):
        return types.SimpleNamespace(encoder=types.SimpleNamespace(num_layers=2))

    def step(self):
        step = super().step()
        codes = step.latent.values
        return step._replace(latent=Latent(codes, inner={1: Latent(codes * 2)}))
