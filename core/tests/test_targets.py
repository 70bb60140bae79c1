"""Targets: values by hand, and a teacher that follows its schedule exactly."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from unmask.parts import Encoder, Target
from unmask.schedules import Cosine, Linear, Progress, Schedule
from unmask.step import Given
from unmask.structures import Latent, Mask, Prediction, Set, Tokens
from unmask.targets import EMATeacher, ValueTarget

TOKENS = Tokens(torch.tensor([[[0.0, 2, 4], [1, 1, 1], [5, 7, 3]], [[9.0, 9, 0], [1, 2, 3], [4, 4, 4]]]), Set())
MASK = Mask(torch.tensor([[True, False, True], [False, True, False]]))


class TinyEncoder(Encoder):
    """One layer with dropout and a buffer that counts the calls made in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 5
        self.layer = nn.Linear(3, 5)
        self.dropout = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        codes = self.dropout(self.layer(tokens.values))
        return Latent(self.norm(codes.mT).mT)


class Model(NamedTuple):
    """What a teacher follows of a model."""

    encoder: Encoder


def test_raw_values_of_the_asked_places() -> None:
    target = ValueTarget()(TOKENS, MASK)
    assert target[0].tolist() == [[0, 2, 4], [5, 7, 3]]
    assert target[1, 0].tolist() == [1, 2, 3]


def test_normalised_values_by_hand() -> None:
    target = ValueTarget(normalize=True)(TOKENS, MASK)
    spread = math.sqrt(4 + 1e-6)  # 0, 2, 4 and 5, 7, 3 have the unbiased variance 4
    expected = torch.tensor([[-2, 0, 2], [0, 2, -2]]) / spread
    torch.testing.assert_close(target[0], expected)


def test_flat_tokens_normalise_to_zero() -> None:
    target = ValueTarget(normalize=True)(TOKENS, Mask(torch.tensor([[False, True, False], [False, False, True]])))
    assert (target == 0).all()


@pytest.mark.parametrize("normalize", [False, True])
def test_restoring_a_right_answer_gives_the_values(normalize: bool) -> None:
    target = ValueTarget(normalize)
    restored = target.restore(Prediction(target(TOKENS, MASK), MASK.asked), TOKENS, MASK)
    torch.testing.assert_close(restored, MASK.asked.gather(TOKENS.values))


def test_a_token_of_one_value_has_no_spread() -> None:
    tokens = Tokens(torch.ones(2, 3, 1), Set())
    assert ValueTarget()(tokens, MASK).shape == (2, 2, 1)
    with pytest.raises(ValueError, match="`normalize` needs tokens of at least 2 values, but they have 1"):
        ValueTarget(normalize=True)(tokens, MASK)


def change(encoder: Encoder) -> None:
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter))


@pytest.mark.parametrize(
    ("schedule", "momenta"),
    [
        (0.9, [0.9] * 5),
        (Linear(0.5, 1.0), [0.5, 0.625, 0.75, 0.875, 1.0]),
        (Cosine(0.0, 1.0), [(1 - math.cos(math.pi * k / 4)) / 2 for k in range(5)]),
    ],
)
def test_the_teacher_follows_the_schedule(schedule: float | Schedule, momenta: list[float]) -> None:
    torch.manual_seed(0)
    encoder, target = TinyEncoder(), EMATeacher(schedule)
    target.start(Model(encoder))
    expected = {name: p.detach().double().clone() for name, p in encoder.named_parameters()}
    for k, momentum in enumerate(momenta):
        change(encoder)
        encoder(TOKENS)  # moves the buffers
        numbers = target.update(Model(encoder), Progress(step=k, total_steps=4))
        assert numbers == {"momentum": pytest.approx(momentum, abs=1e-12)}
        for name, parameter in encoder.named_parameters():
            expected[name] = momentum * expected[name] + (1 - momentum) * parameter.detach().double()
        for name, parameter in target.teacher.named_parameters():
            torch.testing.assert_close(parameter.double(), expected[name], rtol=1e-6, atol=1e-6)
        for mine, theirs in zip(target.teacher.buffers(), encoder.buffers(), strict=True):
            assert torch.equal(mine, theirs)
    assert target.teacher.norm.num_batches_tracked == 5


def test_a_momentum_of_one_keeps_the_teacher_and_of_zero_copies_the_encoder() -> None:
    encoder, target = TinyEncoder(), EMATeacher(Linear(1.0, 0.0))
    target.start(Model(encoder))
    before = copy.deepcopy(target.teacher.layer.weight)
    change(encoder)
    target.update(Model(encoder), Progress(step=0, total_steps=1))
    assert torch.equal(target.teacher.layer.weight, before)
    target.update(Model(encoder), Progress(step=1, total_steps=1))
    assert torch.equal(target.teacher.layer.weight, encoder.layer.weight)


def test_the_teacher_gets_no_gradient_and_gives_none() -> None:
    encoder, target = TinyEncoder(), EMATeacher()
    target.start(Model(encoder))
    assert not any(parameter.requires_grad for parameter in target.parameters())
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    assert not target(TOKENS, MASK).requires_grad
    target.update(Model(encoder), Progress())
    assert all(parameter.grad_fn is None for parameter in target.parameters())


def test_the_teacher_stays_in_evaluation_mode() -> None:
    encoder, target = TinyEncoder(), EMATeacher()
    target.start(Model(encoder))
    whole = nn.ModuleDict({"encoder": encoder, "target": target})
    whole.train()
    assert encoder.training
    assert not any(module.training for module in target.modules())
    assert torch.equal(target(TOKENS, MASK), target(TOKENS, MASK)), "no dropout"


def test_the_targets_are_layer_normed_codes_of_the_asked_places() -> None:
    torch.manual_seed(0)
    encoder, raw, normed = TinyEncoder(), EMATeacher(normalize=False), EMATeacher()
    raw.start(Model(encoder))
    normed.start(Model(encoder))
    codes = raw(TOKENS, MASK)
    expected = TOKENS.values[0, 2] @ encoder.layer.weight.T + encoder.layer.bias
    torch.testing.assert_close(codes[0, 1], expected / math.sqrt(1 + 1e-5))  # batch norm as it starts
    mean, variance = codes.mean(-1, keepdim=True), codes.var(-1, correction=0, keepdim=True)
    torch.testing.assert_close(normed(TOKENS, MASK), (codes - mean) / (variance + 1e-5).sqrt())


def test_momentum_errors() -> None:
    with pytest.raises(ValueError, match=r"`momentum` must be in \[0, 1\], but is 1.5"):
        EMATeacher(1.5)


def test_a_target_that_follows_nothing_has_nothing_to_log() -> None:
    class Ones(Target):
        def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
            return torch.ones_like(mask.asked.gather(tokens.values))

    target = Ones()
    assert target.update(Model(TinyEncoder()), Progress()) == {}
    assert target.restore(Prediction(target(TOKENS, MASK), MASK.asked), TOKENS, MASK) is None


def test_scores_of_ids_restore_the_likeliest():
    tokens = Tokens(torch.tensor([[3, 1, 2], [0, 2, 1]]), Set())
    mask = Mask(torch.tensor([[True, False, False], [False, True, False]]))
    scores = torch.tensor([[[0.0, 0.0, 0.0, 1.0]], [[0.0, 9.0, 0.0, 1.0]]])
    assert ValueTarget()(tokens, mask).tolist() == [[3], [2]]
    assert ValueTarget().restore(Prediction(scores, mask.asked), tokens, mask).tolist() == [[3], [1]]
