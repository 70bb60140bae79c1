"""Agreements: core's own, which commands hold a run against them, and what their contract finds."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from torch import nn

from unmask import agreements
from unmask.agreements import Agreement
from unmask.cli import main
from unmask.data import MaskedDataModule, Splits
from unmask.losses import MSELoss
from unmask.masks.random import RandomMask
from unmask.model import MaskedModel
from unmask.parts import Encoder, Tokenizer
from unmask.plugins import registry
from unmask.predictors import LinearPredictor
from unmask.structures import Latent, Sequence, Tokens
from unmask.targets import ValueTarget
from unmask.testing import AgreementContract
from unmask.tools.features.readable import BatchKeys
from unmask.tools.features.spread import TokenSpread


class Rows(Tokenizer):
    def forward(self, batch):
        if batch["x"].dtype == torch.uint8:
            raise RuntimeError("wrong type")
        return Tokens(batch["x"], Sequence(), valid=batch.get("valid"))


class Pointwise(Encoder):
    def __init__(self):
        super().__init__()
        self.width, self.num_layers, self.layer = 4, 1, nn.Linear(2, 4)

    def forward(self, tokens, mask=None, layer=None):
        return Latent(self.layer(tokens.values))


class Data(MaskedDataModule):
    def __init__(self, x, **extra):
        super().__init__(batch_size=4, num_workers=0)
        self.samples = [{"x": one} | {name: value[i] for name, value in extra.items()} for i, one in enumerate(x)]

    def load(self):
        return Splits(self.samples, self.samples)


def model():
    return MaskedModel(
        tokenizer=Rows(), mask=RandomMask(0.5), encoder=Pointwise(), predictor=LinearPredictor(4, 2),
        target=ValueTarget(), loss=MSELoss(),
    )  # fmt: skip


def noise(mean=0.0, std=1.0):
    return mean + std * torch.randn(12, 5, 2, generator=torch.Generator().manual_seed(0))


class Named(Data):
    """The same samples under another name, as another modality has them."""

    def load(self):
        samples = [{"y": one["x"], "label": 0} for one in self.samples]
        return Splits(samples, samples)


class TestBatchKeys(AgreementContract):
    def make(self):
        return BatchKeys()

    def agreeing(self):
        return model(), Data(noise())

    def differing(self):
        return model(), Named(noise())


def test_what_is_missing_and_what_there_is_are_named():
    with pytest.raises(ValueError, match=r"must have `x` in its batches, which Rows .* Named have `y`, `label`"):
        agreements.check(model(), Named(noise()), loaded=True)
    assert BatchKeys().check(model(), Data((noise() > 0).byte())) is None  # another mistake: training shows which


class TestTokenSpread(AgreementContract):
    def make(self):
        return TokenSpread()

    def agreeing(self):
        return model(), Data(noise())

    def differing(self):
        return model(), Data(noise(-0.94, 0.02))  # 12 bits in a scale of 16


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (noise(-0.94, 0.02), "Token values hardly differ: mean -0.9"),
        (
            torch.full((12, 5, 2), 0.0),
            "Token values hardly differ: mean 0, standard deviation 0, but about 0 and 1",
        ),
        (noise(-25, 6), "Token values are large: mean -2"),  # decibels
        (noise(0, 300), "Token values are large"),
        (noise(0.0127, 0.11), None),  # counted words of Cora
        (noise(0.98, 0.1), None),  # ink on white paper
        (noise(-0.3, 0.9), None),
        (noise().clone().fill_(float("nan")), None),  # refused elsewhere
        ((noise() > 0).long(), None),  # ids
        ((noise() > 0).byte(), None),  # a tokenizer that fails: training shows how
    ],
)
def test_values_that_hardly_differ_or_are_large_are_told(values, expected):
    made, data, state = model(), Data(values), torch.get_rng_state()
    told = TokenSpread().check(made, data)
    assert told is None if expected is None else told.startswith(expected)
    assert torch.equal(state, torch.get_rng_state())


def test_padding_does_not_count():
    x, valid = noise(), torch.arange(5).expand(12, 5) < 3
    x[~valid] = 1e6
    assert TokenSpread().check(model(), Data(x, valid=valid)) is None


def test_it_is_told_before_training_once_and_not_when_looking(capsys, tmp_path):
    torch.manual_seed(0)
    made, data = model(), Data(noise(-25, 6))
    options = {"max_steps": 1, "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = L.Trainer(accelerator="cpu", default_root_dir=tmp_path, enable_model_summary=False, **options)
    agreements.check(made, data, loaded=False)
    trainer.validate(made, data, verbose=False)
    assert "Token values" not in capsys.readouterr().out
    trainer.fit(made, data)
    assert capsys.readouterr().out.count("Token values are large") == 1


def test_other_data_of_a_trained_model_is_compared_by_a_rule_of_its_own(monkeypatch, capsys):
    monkeypatch.setattr(TokenSpread, "check", lambda self, model, data: "as trained")
    agreements.check(model(), Data(noise()), loaded=True, other=True)
    assert capsys.readouterr().out == "as trained\n"  # which is `check` where there is no other
    monkeypatch.setattr(TokenSpread, "check_other", lambda self, model, data: "other data")
    agreements.check(model(), Data(noise()), loaded=True, other=True)
    agreements.check(model(), Data(noise()), loaded=True)
    assert capsys.readouterr().out == "other data\nas trained\n"


def test_agreements_are_listed_and_shown(capsys):
    assert main(["list", "agreements"]) == 0
    assert "token-spread" in capsys.readouterr().out
    assert main(["show", "token-spread"]) == 0
    assert "Values that" in capsys.readouterr().out


@pytest.mark.parametrize("component", [c for c in registry.components() if c.group == agreements.GROUP], ids=str)
def test_every_registered_agreement_says_what_it_compares_and_minds_its_own_business(component):
    contract = type("Of", (AgreementContract,), {"make": lambda self: component.load()()})
    contract.__abstractmethods__ = frozenset()
    contract().test_it_says_what_it_compares()
    contract().test_strangers_are_no_concern()


class Strict(Agreement):
    """Data must be there."""

    between = ("data", "model")
    otherwise = "refused"

    def check(self, model, data):
        if not hasattr(data, "samples"):
            raise ValueError("`data` must have samples,\nbut has none.")


@pytest.mark.parametrize(
    ("test", "members"),
    [
        ("test_strangers_are_no_concern", {}),
        ("test_what_does_not_agree_is_said_in_a_line", {"differing": lambda self: (model(), Data(noise()))}),
        (
            "test_what_does_not_agree_is_said_in_a_line",
            {"differing": lambda self: (model(), L.LightningDataModule())},  # two lines
        ),
        ("test_it_says_what_it_compares", {"make": lambda self: type("Mute", (Strict,), {})()}),
        ("test_it_says_what_it_compares", {"make": lambda self: type("Odd", (Strict,), {"otherwise": "shown"})()}),
        (
            "test_what_agrees_passes",
            {"make": lambda self: TokenSpread(), "agreeing": lambda self: (model(), Data(noise(0, 300)))},
        ),
    ],
)
def test_the_contract_finds_an_agreement_that_breaks_it(test, members):
    made = {"make": lambda self: Strict(), "agreeing": lambda self: None, "differing": lambda self: None} | members
    contract = type("Of", (AgreementContract,), made)()
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
        getattr(contract, test)()
