"""Regressed codes: the predictor that makes them, and what holds them to the encoder's own codes of hidden places."""

import pytest
import torch
from torch import nn

from unmask import Grid, Latent, Mask, Prediction, Tokens
from unmask.masks import MultiBlockMask
from unmask.parts import Encoder
from unmask.predictors import RegressorPredictor
from unmask.targets import OwnCodeTarget
from unmask.terms import CodeAlignment
from unmask.testing import PredictorContract, TargetContract, TermContract


class TestRegressorPredictor(PredictorContract):
    encoder_width = 16

    def make(self):
        return RegressorPredictor(16, 4, width=24, depth=1, decoder_depth=1, num_heads=3)

    def tokens(self):
        return Tokens(torch.randn(3, 12, 4), Grid((3, 4)))


class TestInGroups(TestRegressorPredictor):
    def tokens(self):
        return Tokens(torch.randn(3, 64, 4), Grid((8, 8)))

    def mask(self):
        return MultiBlockMask()


class Twice(Encoder):
    """Codes are the tokens' values twice over."""

    width, num_layers = 8, 1

    def forward(self, tokens, mask=None, layer=None):
        seen = None if mask is None else mask.seen
        return Latent(2 * (tokens.values if seen is None else seen.gather(tokens.values)), seen)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Twice()


class TestAlignment(TermContract):
    def make(self):
        return CodeAlignment()

    def model(self):
        return Model()

    def step(self):
        step = super().step()
        latents = step.mask.asked.gather(step.latent.values)
        return step._replace(prediction=Prediction(step.prediction.values, step.mask.asked, latents=latents))

    def test_by_hand(self):
        term, model, step = self._started()
        right = 2 * step.mask.asked.gather(step.tokens.values)
        expected = (step.prediction.latents - right).square().mean()
        torch.testing.assert_close(term(step, model), expected)

    def test_padding_and_short_rows_count_nothing(self):
        """Three and two hidden places: five squares of differences, each the mean over the width."""
        values = torch.randn(2, 6, 8)
        valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
        hidden = torch.tensor([[True, False, True, False, True, False], [True, True, False, False, False, False]])
        mask = Mask(hidden, valid=valid)
        latents = torch.randn(2, 3, 8)
        step = super().step()._replace(
            tokens=Tokens(values, Grid((2, 3)), valid=valid), mask=mask,
            prediction=Prediction(latents, mask.asked, latents=latents),
        )  # fmt: skip
        squares = [(latents[0, i] - 2 * values[0, n]).square().mean() for i, n in enumerate((0, 2, 4))]
        squares += [(latents[1, i] - 2 * values[1, n]).square().mean() for i, n in enumerate((0, 1))]
        torch.testing.assert_close(CodeAlignment()(step, Model()), torch.stack(squares).mean())

    @pytest.mark.parametrize("what", ["no codes", "elsewhere"])
    def test_what_it_needs(self, what):
        term, model, step = self._started()
        if what == "no codes":
            step = step._replace(prediction=Prediction(step.prediction.values, step.mask.asked))
        else:
            step = step._replace(mask=Mask(step.mask.hidden, predict=~step.mask.hidden))
        with pytest.raises(ValueError, match="must regress codes" if what == "no codes" else "must be 'hidden'"):
            term(step, model)


class TestOwnCodeTarget(TargetContract):
    def make(self):
        return OwnCodeTarget()

    def encoder(self):
        return Twice()

    def tokens(self):
        return Tokens(torch.randn(3, 12, 4), Grid((3, 4)))

    def test_by_hand(self):
        """Of the values of hidden places alone, with the gradient of whoever made them."""
        target, tokens, mask = self._given()
        values = tokens.values.clone().requires_grad_()
        answers = target(Tokens(values, tokens.layout), mask)
        assert torch.equal(answers, 2 * mask.asked.gather(values))
        answers.sum().backward()
        assert torch.equal(values.grad, 2.0 * mask.hidden[..., None].expand_as(values))


def test_the_complement_hides_what_was_shown():
    valid = torch.tensor([[True, True, True, False], [True] * 4])
    hidden = torch.tensor([[True, False, False, False], [False, True, True, False]])
    padded = Mask(hidden, valid=valid, show=torch.ones(2, 4, dtype=torch.int8)).complement
    assert padded.hidden.tolist() == [[False, True, True, False], [True, False, False, True]]
    assert padded.num_hidden is None
    assert padded.show is None
    dense = Mask(hidden[1:], num_hidden=2).complement
    assert (dense.num_hidden, dense.hidden.tolist()) == (2, [[True, False, False, True]])
