"""Prototypes: a head, a centre, and losses that tell a slow copy's scores."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unmask import Corruption, Encoder, Given, Latent, Mask, Places, Prediction, Progress, Sequence, Shown, Tokens
from unmask.losses import PrototypeLoss
from unmask.nn import Centre
from unmask.predictors import LinearPredictor, PrototypePredictor
from unmask.targets import EMATeacher, PrototypeTeacher
from unmask.terms import CrossedPrototypes
from unmask.testing import LossContract, PredictorContract, TargetContract, TermContract


class Wide(Encoder):
    width, num_layers = 8, 1

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 8)

    def forward(self, tokens, mask=None, layer=None):
        codes = self.layer(tokens.values)
        return Latent(codes, None, codes.mean(1, keepdim=True))


def model():
    torch.manual_seed(3)
    return SimpleNamespace(encoder=Wide(), predictor=PrototypePredictor(8, 6, 16, 4), target=PrototypeTeacher())


class TestPrototypePredictor(PredictorContract):
    encoder_width = 8
    corruptions = (Corruption(token=1),)

    def make(self):
        return PrototypePredictor(8, 6, 16, 4)

    def tokens(self):
        return Tokens(torch.randn(3, 12, 4), Sequence())


class TestPrototypeTeacher(TargetContract):
    overrides = {"test_an_update_gives_numbers_and_trains_nothing": "it follows the predictor as well"}

    def make(self):
        target = PrototypeTeacher()
        target.start(model())
        return target

    def tokens(self):
        return Tokens(torch.randn(3, 12, 4), Sequence())

    def test_an_update_gives_numbers_and_trains_nothing(self):
        numbers = self.make().update(model(), Progress(step=1, total_steps=10))
        assert {"momentum", "teacher_temperature"} == set(numbers)


class TestPrototypeLoss(LossContract):
    overrides = {
        "test_fillers_do_not_count": "the mean is over the places of each sample, then over samples",
        "test_right_answers_cost_less_than_random_ones": "targets are chances",
    }

    def make(self):
        return PrototypeLoss()

    def test_fillers_do_not_count(self):
        answers, target = self._given()
        valid = torch.arange(5) < torch.tensor([5, 3, 0])[:, None]
        asked = Places(self._asked().index, valid)
        total, per_token = PrototypeLoss()(Prediction(answers, asked), target)
        assert (per_token[~valid] == 0).all()
        torch.testing.assert_close(total, (per_token[0].mean() + per_token[1, :3].mean()) / 3)

    def test_right_answers_cost_less_than_random_ones(self):
        answers, target = self._given()
        chances = target.softmax(-1)
        right = PrototypeLoss(1.0)(Prediction(target, self._asked()), chances).total
        assert right < PrototypeLoss(1.0)(Prediction(answers, self._asked()), chances).total
        entropy = -(chances * chances.log()).sum(-1).mean()
        torch.testing.assert_close(right, entropy)


class TestCrossedPrototypes(TermContract):
    def make(self):
        return CrossedPrototypes()

    def model(self):
        made = model()
        made.target.start(made)
        return made

    def step(self):
        step = super().step()
        names = ("first", "second")
        generator = torch.Generator().manual_seed(2)

        def random(*shape):
            return torch.randn(shape, generator=generator)

        codes = {name: Latent(random(4, 6, 8), None, random(4, 1, 8).requires_grad_()) for name in names}
        views = {name: Tokens(random(4, 6, 8), Sequence()) for name in names}
        mask = Mask.join(dict.fromkeys(names, step.mask))
        tokens = Tokens.join(views)
        made = {"class_scores": {name: random(4, 6) for name in names}}
        given = Given({}, Shown(tokens, mask, made))
        return step._replace(tokens=tokens, latent=Latent.join(codes), mask=mask, given=given)

    def test_other_views_and_models_are_refused(self):
        term, started, _ = self._started()
        with pytest.raises(ValueError, match="A step must have a view `first`, but has no views"):
            term(super().step(), started)
        other = SimpleNamespace(encoder=Wide(), predictor=LinearPredictor(8, 6), target=EMATeacher())
        with pytest.raises(ValueError, match="needs a model whose `predictor` is `prototypes`"):
            CrossedPrototypes().start(other)


def test_the_centre_is_the_mean_of_what_was_seen():
    centre = Centre(3, momentum=0.5)
    centre.follow(torch.tensor([2.0, 4.0, 6.0]), 2)
    assert centre.value.tolist() == [0.5, 1.0, 1.5]
    centre.follow(torch.zeros(3), 0)
    assert centre.value.tolist() == [0.5, 1.0, 1.5], "nothing was asked"
    torch.testing.assert_close(centre(centre.value[None], 0.04), torch.full((1, 3), 1 / 3))


def test_numbers_out_of_range_are_refused():
    for made, why in (
        (lambda: PrototypeLoss(0.0), "`temperature` must be above 0, but is 0"),
        (lambda: PrototypeTeacher(temperature=-1.0), "`temperature` must be above 0, but is -1"),
        (lambda: PrototypeTeacher(centre_momentum=2.0), r"`centre_momentum` must be in \[0, 1\], but is 2"),
        (lambda: CrossedPrototypes(teacher_temperature=0.0), "`teacher_temperature` must be above 0, but is 0"),
        (lambda: PrototypePredictor(8, held_epochs=-1), "`held_epochs` must be at least 0, but is -1"),
    ):
        with pytest.raises(ValueError, match=why):
            made()
