"""LUT: two views that show different quarters, one of which is rebuilt, and a crossed cosine."""

import pytest
import torch

from unmask import Progress, Tokens
from unmask.masks import ApartMask
from unmask.predictors import TransformerPredictor
from unmask.testing import MethodContract
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods import LUT, MAE
from unmask_vision.two_looks import TwoLooks


def made(kind=LUT, **options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2}
    encoder = ViTEncoder("vit_tiny_patch16_224", 16, 4, positions="sincos", options=sizes)
    predictor = TransformerPredictor(32, 48, width=24, depth=1, num_heads=2)
    more = {"hidden_width": 16} if kind is LUT else {}
    return kind(patch_size=4, encoder=encoder, predictor=predictor, **{**more, **options})


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(3, 3, 16, 16, generator=generator) for name in ("image", "second")}


class TestLUT(MethodContract):
    def make(self):
        return made()

    def batch(self):
        return {name: torch.rand(4, 3, 16, 16) for name in ("image", "second")}


def test_no_patch_is_shown_in_both_views(batch):
    step = made().step(batch, 0)
    first, second = (~step.mask.part(name).hidden for name in ("first", "second"))
    assert first.sum(1).tolist() == second.sum(1).tolist() == [4, 4, 4]
    assert not (first & second).any()
    assert not torch.equal(first[0], first[1])
    assert list(step.prediction.parts) == ["first"], "the second view is not rebuilt"


def test_without_the_crossed_term_it_is_mae_on_the_first_view_bit_for_bit(batch, given_mask):
    ours = made(crossed_weight=0.0).eval()
    step = ours.step(batch, 0)
    mae = made(MAE, mask=given_mask(step.mask.part("first").hidden)).eval()
    assert torch.equal(step.loss.total, mae.step({"image": batch["image"]}).loss.total)


def test_the_crossed_term_by_hand(batch):
    ours = made().eval()
    term = ours.terms["crossed"]
    with torch.no_grad():
        for parameter in [*ours.encoder.parameters(), *term.head.parameters()]:
            parameter.add_(0.1 * torch.randn_like(parameter))
    step = ours.step(batch, 0)
    total = 0.0
    with torch.no_grad():
        for one, other in (("first", "second"), ("second", "first")):
            code = ours.encoder(step.tokens.part(one), step.mask.part(one)).values.mean(1)
            slow = term.encoder(step.tokens.part(other)).values.mean(1)
            p, z = term.predict(term.head(code)), term.slow_head(slow)
            for i in range(3):
                total += (2 - 2 * (p[i] @ z[i]) / (p[i].norm() * z[i].norm())) / 6
    torch.testing.assert_close(step.terms["crossed"], total, rtol=1e-4, atol=1e-6)


def test_the_copy_follows_and_gets_no_gradient(batch):
    ours = made()
    term = ours.terms["crossed"]
    term.momentum = 0.25
    before = term.slow_head[0].weight.clone()
    with torch.no_grad():
        term.head[0].weight.add_(1.0)
    term.update(ours, Progress())
    torch.testing.assert_close(term.slow_head[0].weight, before + 0.75)
    ours.train().step(batch, 0).loss.total.backward()
    assert all(p.grad is None for p in [*term.encoder.parameters(), *term.slow_head.parameters()])
    assert not term.encoder.training and term.head[0].weight.grad.any()


def test_two_looks_share_their_geometry():
    torch.manual_seed(0)
    image = torch.zeros(3, 8, 8)
    image[:, 2:4, 5:7] = 0.5
    made = TwoLooks(strength=0.5)({"image": image, "label": 3})
    assert made["label"] == 3 and not torch.equal(made["image"], made["second"])
    for name in ("image", "second"):
        differs = (made[name] - made[name][:, :1, :1]).abs().sum(0) > 1e-4
        assert torch.equal(differs, image[0] > 0)


def test_what_cannot_be_disjoint_is_refused(batch):
    tokens = made().tokenizer(batch)
    with pytest.raises(
        ValueError, match=r"`ratio` must be at least 0\.5 for 2 parts that show no place twice, but is 0\.25"
    ):
        ApartMask(0.25)(tokens)
    with pytest.raises(ValueError, match="`asked` must be of parts first, second, but one is 'third'"):
        ApartMask(asked=["third"])(tokens)
    with pytest.raises(ValueError, match="at least two parts, but these have one"):
        ApartMask()(tokens.part("first"))
    short = Tokens(tokens.part("first").values[:, :5], tokens.part("first").layout)
    with pytest.raises(ValueError, match="parts of as many tokens each, but these have 16, 5"):
        ApartMask()(Tokens.join({"first": tokens.part("first"), "second": short}))
