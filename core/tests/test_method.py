"""Methods as descriptions: fields become arguments, defaults show in a config, parts are the model's own."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import field
from typing import Literal

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn

from unmask import (
    Cosine,
    Encoder,
    Latent,
    Loss,
    MaskSampler,
    Method,
    Schedule,
    Sequence,
    Target,
    Tokenizer,
    Tokens,
    chosen,
)
from unmask.losses import L1Loss, MSELoss
from unmask.masks import RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget


class ToyTokenizer(Tokenizer):
    def forward(self, batch):
        return Tokens(batch, Sequence())


class ToyEncoder(Encoder):
    num_layers = 1

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.enter = nn.Linear(4, width)

    def forward(self, tokens, mask=None, layer=None):
        seen = None if mask is None else mask.seen
        return Latent(self.enter(tokens.values if seen is None else seen.gather(tokens.values)), seen)


class Described(Method):
    """A method of toys.

    Args:
        size: of the encoder.
    """

    size: Literal["small", "large"] | None = None
    weight: float | Schedule = Cosine(start=1.0, end=0.5)
    mask: MaskSampler = RandomMask(ratio=0.75)
    target: Target = ValueTarget()
    loss: Loss = field(init=False, default_factory=MSELoss)

    def complete(self) -> None:
        width = chosen("size", self.size or "small", {"small": 8, "large": 16})
        self.tokenizer = self.tokenizer or ToyTokenizer()
        self.encoder = self.encoder or ToyEncoder(width)
        self.predictor = self.predictor or TransformerPredictor(self.encoder.width, 4, 8, 1, 2)


class Narrower(Described):
    """The same with another mask, and a layer of its own."""

    mask: MaskSampler = RandomMask(ratio=0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.extra = nn.Linear(self.encoder.width, 1)


class Explicit(Described):
    """A constructor of one's own is kept."""

    def __init__(self) -> None:
        super().__init__(size="large")


def test_fields_are_keyword_arguments_of_its_own_and_then_those_of_all_methods():
    arguments = inspect.signature(Described).parameters
    assert [*arguments] == [
        "size",
        "weight",
        "tokenizer",
        "mask",
        "encoder",
        "predictor",
        "target",
        "corruption",
        "objectives",
        "terms",
        "optim",
    ]
    assert all(one.kind is one.KEYWORD_ONLY for one in arguments.values())
    with pytest.raises(TypeError):
        Described("large")  # type: ignore[misc]
    with pytest.raises(TypeError):
        Described(loss=L1Loss())  # type: ignore[call-arg]


def test_what_is_not_given_is_made_and_the_parts_are_in_the_order_of_the_step():
    model = Described()
    assert [name for name, _ in model.named_children()] == [
        "tokenizer", "mask", "encoder", "predictor", "target", "loss", "corruption", "objectives", "terms"
    ]  # fmt: skip
    assert model.encoder.width == 8 and Described(size="large").encoder.width == 16
    assert isinstance(model.loss, MSELoss) and model.mask.ratio == 0.75 and Narrower().mask.ratio == 0.5
    encoder = ToyEncoder(4)
    assert Described(encoder=encoder).encoder is encoder
    assert Explicit().encoder.width == 16


def test_a_described_method_takes_a_step():
    loss = Described(size="large").step(torch.randn(2, 6, 4)).loss
    assert loss.total.ndim == 0 and loss.per_token.shape == (2, 5)


def test_models_share_no_default_part():
    one, other = Described(), Described()
    one.mask.ratio = 0.1
    assert other.mask.ratio == 0.75 and one.target is not other.target


def test_a_model_is_copied_and_pickled_with_modules_of_its_own():
    model = Narrower(size="large")
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.extra is not model.extra and again.size == "large"
        assert {name: x.tolist() for name, x in again.state_dict().items()} == {
            name: x.tolist() for name, x in model.state_dict().items()
        }


def test_a_config_shows_the_defaults_with_what_they_are_made_with():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Narrower, "model")
    shown = parser.get_defaults().model
    assert shown.mask.class_path == "unmask.masks.RandomMask" and shown.mask.init_args.ratio == 0.5
    assert shown.weight.class_path == "unmask.Cosine" and shown.weight.init_args.end == 0.5
    assert shown.encoder is None and "loss" not in shown
    made = parser.instantiate(parser.parse_args(["--model.mask.ratio", "0.25", "--model.size", "large"]))
    assert made.model.mask.ratio == 0.25 and made.model.size == "large"


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Described(size="smal"), r"^`size` must be one of small, large, but is 'smal'; nearest: small\.$"),
        (
            lambda: Described(size="small", encoder=ToyEncoder(4)),
            r"^`size` must be left out when `encoder` is given, which has its own, but is 'small'; nearest: null\.$",
        ),
    ],
)
def test_bad_options_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_part_that_nobody_makes_is_refused():
    class Forgetful(Method):
        mask: MaskSampler = RandomMask(ratio=0.5)
        target: Target = ValueTarget()
        loss: Loss = MSELoss()

    with pytest.raises(TypeError, match=r"Forgetful\.complete` must make `tokenizer` and `encoder` and `predictor`"):
        Forgetful()
