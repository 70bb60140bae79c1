"""Terms: summands by hand, what any method does with them, and how a config names them."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest
import torch
from torch import nn

from unmask import Latent, Linear, MaskedModel, Progress, Sequence, Step, Term, Tokens
from unmask.cli import main
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask.terms import Uniformity, VarianceCovariance
from unmask.testing import TermContract


def step_of(codes, valid=None):
    """A step whose encoder saw all tokens ``[B, N, D]``."""
    return Step(Tokens(codes, Sequence(), valid=valid), None, None, Latent(codes), None, None)


def test_uniformity_by_hand():
    """Mean codes (3, 4), (0, 2), (1, 0): cosines 0.8, 0.6 and 0."""
    codes = torch.tensor([[[2.0, 4.0], [4.0, 4.0]], [[0.0, 1.0], [0.0, 3.0]], [[1.0, 0.0], [1.0, 0.0]]])
    assert Uniformity()(step_of(codes), None).item() == pytest.approx((0.8**2 + 0.6**2 + 0) / 3, rel=1e-6)
    assert Uniformity()(step_of(codes[:1]), None) == 0
    assert Uniformity(pool="mean")(step_of(torch.ones(4, 2, 3)), None) == pytest.approx(1.0)


def test_padding_is_no_part_of_a_code():
    codes = torch.randn(3, 4, 5)
    valid = torch.ones(3, 4, dtype=torch.bool)
    valid[0, 2:] = False
    other = codes.clone()
    other[0, 2:] = 99
    for term in (Uniformity(), VarianceCovariance()):
        assert term(step_of(codes, valid), None) == term(step_of(other, valid), None)


def test_variance_and_covariance_by_hand():
    """Mean codes (0, 0), (2, 1): variances 2 and 0.5, covariance 1."""
    codes = torch.tensor([[[0.0, 0.0]], [[2.0, 1.0]]])
    spread = (0 + 1 - (0.5 + 1e-4) ** 0.5) / 2
    term = VarianceCovariance(covariance_weight=0.5)
    assert term(step_of(codes), None).item() == pytest.approx(spread + 0.5 * 2 / 2, rel=1e-6)
    assert term(step_of(codes[:1]), None) == 0


class Projection(Term):
    """A layer of the encoder's width, made once the model is known; counts updates."""

    updates = 0

    def start(self, model):
        self.proj = nn.Linear(model.encoder.width, 1)

    def update(self, model, progress):
        self.updates += 1
        return {"updates": float(self.updates)}

    def forward(self, step, model):
        return self.proj(step.latent.values).float().square().mean()


def model(encoder, **terms):
    torch.manual_seed(0)
    return MaskedModel(
        tokenizer=encoder.tokenizer, mask=RandomMask(ratio=0.5), encoder=encoder.encoder,
        predictor=TransformerPredictor(8, 2, width=8, depth=1, num_heads=2),
        target=ValueTarget(), loss=MSELoss(), terms=terms,
    )  # fmt: skip


@pytest.fixture
def parts(toys):
    toy_modality = import_module("toy_modality")

    class Parts:
        tokenizer, encoder = toy_modality.Rows(), toy_modality.Mixer()

    return Parts


def test_the_total_holds_each_term_by_its_weight(parts):
    batch = {"x": torch.randn(4, 6, 2)}
    plain = model(parts).step(batch, 1)
    whole = model(parts, spread=Uniformity(weight=2.0), off=Uniformity(weight=0.0)).step(batch, 1)
    assert plain.terms == {} and [*whole.terms] == ["spread", "off"]
    assert torch.allclose(whole.loss.total, plain.loss.total + 2 * whole.terms["spread"])
    assert torch.equal(whole.loss.per_token, plain.loss.per_token) and not whole.terms["spread"].requires_grad


def test_a_weight_may_be_a_schedule(parts, monkeypatch):
    made = model(parts, spread=Uniformity(weight=Linear(start=1.0, end=0.0)))
    monkeypatch.setattr(MaskedModel, "progress", Progress(step=3, total_steps=4))
    batch = {"x": torch.randn(4, 6, 2)}
    step = made.step(batch, 1)
    weight = Linear(start=1.0, end=0.0)(Progress(step=3, total_steps=4))
    plain = made.loss(step.prediction, step.target).total
    assert torch.allclose(step.loss.total, plain + weight * step.terms["spread"]) and 0 < weight < 1


def test_a_term_makes_its_layers_of_the_models_sizes_and_shares_none(parts):
    given = Projection()
    one, other = model(parts, proj=given), model(parts, proj=given)
    assert one.terms.proj.proj.in_features == 8 and one.terms.proj is not other.terms.proj
    assert "terms.proj.proj.weight" in one.state_dict()


def test_a_name_that_is_taken_is_refused(parts):
    with pytest.raises(ValueError, match=r"A term must have a name of its own, of letters, .* but one is 'loss'"):
        model(parts, loss=Uniformity())
    with pytest.raises(ValueError, match="`weight` must be at least 0, but is -1"):
        Uniformity(weight=-1)
    with pytest.raises(ValueError, match="`gamma` must be above 0, but is 0"):
        VarianceCovariance(gamma=0)


class TestUniformity(TermContract):
    def make(self):
        return Uniformity()


class TestVarianceCovariance(TermContract):
    def make(self):
        return VarianceCovariance()


def test_terms_are_options_are_logged_and_followed(toys, capsys, monkeypatch):
    (toys / "method.py").write_text(METHOD)
    (toys / "config.yaml").write_text(
        "model: method.Described\ndata: toy_modality.Numbers\n"
        "trainer: {max_steps: 4, accelerator: cpu, log_every_n_steps: 1}\n"
    )
    monkeypatch.syspath_prepend(str(toys))
    try:
        words = ["fit", "--config", "config.yaml", "--out", "run"]
        words += ["--model.terms", "{spread: {class_path: uniformity, init_args: {weight: 0.5}}}"]
        assert main(words) == 0
        header = (toys / "run" / "metrics.csv").read_text().splitlines()[0]
        assert "train/spread" in header and "val/spread" in header
        assert "unmask.terms" in (toys / "run" / "config.yaml").read_text()
        capsys.readouterr()
        words[-1] = "{spread: {class_path: uniformty}}"
        assert main([*words[:3], *words[5:], "--out", "other"]) == 2
        assert "uniformity" in capsys.readouterr().err
    finally:
        sys.modules.pop("method", None)


METHOD = """
from toy_modality import Mixer, Rows

from unmask import Loss, MaskSampler, Method, Target
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget


class Described(Method):
    mask: MaskSampler = RandomMask(ratio=0.5)
    target: Target = ValueTarget()
    loss: Loss = MSELoss()

    def complete(self):
        self.tokenizer = self.tokenizer or Rows()
        self.encoder = self.encoder or Mixer()
        self.predictor = self.predictor or TransformerPredictor(8, 2, width=8, depth=1, num_heads=2)
"""
