"""A masked pass beside whole samples, and a mask of places inside of objects."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unmask import Encoder, Grid, Latent, Progress, Sequence, Tokens, Uniform
from unmask.losses import MSELoss
from unmask.masks import InsideMask, RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask.terms import MaskedPass
from unmask.testing import TermContract
from unmask.testing.contract import streams


def tokens(inside, number=1):
    """Places of which these are inside of one object."""
    note = torch.tensor(inside, dtype=torch.bool).expand(number, -1)[..., None]
    return Tokens(torch.randn(number, len(inside), 2), Sequence(), notes={"boxes": note})


def drawn(inside, number=1, **options):
    given = tokens(inside, number)
    return InsideMask(**options)(given, Progress(), streams(given)).hidden


INSIDE = [0, 1, 1, 1, 1, 1, 0, 0, 0, 1]


def test_a_share_of_what_is_inside_is_hidden():
    """Of 6 places a half is 3, and 0.6 is 6 - floor(2.4) = 4; nothing outside."""
    for ratio, count in ((0.5, 3), (0.6, 4)):
        hidden = drawn(INSIDE, 400, ratio=ratio)
        assert (hidden.sum(1) == count).all()
        assert not hidden[:, ~torch.tensor(INSIDE, dtype=torch.bool)].any()
        share = hidden.float().mean(0)[torch.tensor(INSIDE, dtype=torch.bool)]
        torch.testing.assert_close(share, torch.full((6,), count / 6), rtol=0, atol=0.1)
    counts = drawn(INSIDE, 400, ratio=Uniform(0.5, 0.8)).sum(1)
    assert set(counts.tolist()) == {4, 5} or set(counts.tolist()) == {3, 4, 5}


def test_samples_without_objects_stay_and_one_place_is_always_seen():
    assert not drawn([0] * 6, 4).any()
    assert (drawn([1] * 6, 4, ratio=0.99).sum(1) == 5).all()
    given = tokens(INSIDE, 2)
    flat = replace(given, notes={"boxes": given.notes["boxes"][..., 0]})
    assert torch.equal(
        InsideMask(0.5)(given, Progress(), streams(given)).hidden,
        InsideMask(0.5)(flat, Progress(), streams(flat)).hidden,
    )


def test_padding_is_never_hidden():
    given = replace(tokens([1] * 6, 2), valid=torch.tensor([[True] * 6, [True] * 3 + [False] * 3]))
    hidden = InsideMask(0.5)(given, Progress(), streams(given)).hidden
    assert hidden.sum(1).tolist() == [3, 2] and not (hidden & ~given.valid).any()


def test_what_is_lacking_is_said():
    with pytest.raises(ValueError, match="InsideMask needs tokens with a note `boxes`, but they have none"):
        InsideMask()(Tokens(torch.zeros(2, 6, 1), Sequence()))
    with pytest.raises(ValueError, match=r"`ratio` must be in \(0, 1\), but is 1"):
        InsideMask(1.0)


class Kept(Encoder):
    """Codes of visible places alone."""

    width, num_layers = 8, 1

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, tokens, mask=None, layer=None):
        seen = None if mask is None else mask.visible
        return Latent(self.layer(tokens.values if seen is None else seen.gather(tokens.values)), seen)


class TestMaskedPass(TermContract):
    def make(self):
        predictor = TransformerPredictor(8, 8, 16, 1, 2)
        return MaskedPass(RandomMask(0.5), predictor, ValueTarget(), MSELoss())

    def model(self):
        return SimpleNamespace(encoder=Kept())

    overrides = {"test_one_finite_number_whose_gradient_reaches_the_codes": "it encodes again: the encoder is reached"}

    def test_one_finite_number_whose_gradient_reaches_the_codes(self):
        term, model, step = self._started()
        value = term(step, model)
        assert (value.shape, value.dtype) == ((), torch.float32)
        value.backward()
        assert model.encoder.layer.weight.grad.abs().sum() > 0

    def test_the_number_by_hand_and_no_hidden_value_in_it(self):
        term, model, step = self._started()
        step = step._replace(
            tokens=replace(step.tokens, layout=Grid((2, 3))), mask=replace(step.mask, draws=streams(step.tokens))
        )
        hidden = term.mask(step.tokens, Progress(), step.mask.streams().named("masked pass"))
        with torch.no_grad():
            latent = model.encoder(step.tokens, hidden)
            answers = term.predictor(latent, step.tokens.places, hidden).values
            right = step.tokens.values[hidden.hidden].view(4, 3, 8)
            torch.testing.assert_close(term(step, model), (answers - right).square().mean())
            moved = step.tokens.values + hidden.hidden[..., None] * 5.0
            other = model.encoder(replace(step.tokens, values=moved), hidden)
            assert torch.equal(term.predictor(other, step.tokens.places, hidden).values, answers)

    def test_nothing_hidden_costs_nothing(self):
        term, model, step = self._started()
        term.mask = InsideMask()
        notes = {"boxes": torch.zeros(4, 6, dtype=torch.bool)}
        value = term(step._replace(tokens=replace(step.tokens, notes=notes)), model)
        assert value.item() == 0
