"""Neighbours on a grid, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unmask import Encoder, Grid, Latent, Mask, Sequence, Step, Tokens
from unmask.nn.neighbours import Neighbourhood, nearest_around
from unmask.predictors import MixturePredictor, NeighbourPredictor, TransformerPredictor
from unmask.terms import CrossedCosine
from unmask.testing import PredictorContract, TermContract

ANGLES = torch.tensor([0.0, 10, 80, 90, 12, 170, 11, 200, 13]).deg2rad()  # of a 3 x 3 grid
CODES = torch.stack([ANGLES.cos(), ANGLES.sin()], -1)[None]


def test_the_most_alike_of_those_around_by_hand() -> None:
    around, there = nearest_around(CODES, (3, 3), None, 3)
    assert there.all()
    assert around[0, 4].tolist() == [4, 6, 8], "of all nine: 12, 11 and 13 degrees"
    assert around[0, 0].tolist() == [0, 1, 4], "of four in the corner; nothing wraps around: 11 lies beyond"
    assert around[0, 2].tolist() == [2, 4, 1], "80 against 12 and 10 degrees; 170 is further"


def test_unseen_places_are_no_one_s_neighbours() -> None:
    seen = torch.tensor([[True, True, False, False, True, False, False, False, True]])
    around, there = nearest_around(CODES, (3, 3), seen, 4)
    assert around[0, 0, :3].tolist() == [0, 1, 4] and there[0, 0].tolist() == [True, True, True, False]
    head = Neighbourhood(2, 4, depth=1, num_heads=1)
    other = CODES.masked_fill(~seen[..., None], 5.0)
    assert torch.equal(head(CODES, (3, 3), seen)[seen], head(other, (3, 3), seen)[seen])


def test_the_first_query_is_the_mean() -> None:
    """Where attention and MLP add nothing, the mean is what is normed."""
    head = Neighbourhood(2, 3, depth=1, num_heads=1)
    with torch.no_grad():
        for layer in (head.blocks[0].proj, head.blocks[0].mlp.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
    mean = CODES[0, [4, 6, 8]].mean(0)
    torch.testing.assert_close(head(CODES, (3, 3))[0, 4], head.norm(mean))
    assert torch.equal(Neighbourhood(2, depth=0, num_heads=1)(CODES, (3, 3)), CODES)


def test_a_place_without_neighbours_harms_no_gradient() -> None:
    """In bfloat16 attention is plain matrix products, whose softmax over nothing has none."""
    seen = torch.tensor([[True, False, False, False, False, False, False, False, False]])
    head = Neighbourhood(2, 4, depth=1, num_heads=1)
    with torch.autocast("cpu", torch.bfloat16):
        made = head(CODES, (3, 3), seen)
    made[seen].sum().backward()
    assert all(bool(torch.isfinite(one.grad).all()) for one in head.parameters() if one.grad is not None)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`num_neighbours` must be in \[1, 9\], but is 10"):
        Neighbourhood(8, 10)
    with pytest.raises(ValueError, match="`num_heads` must divide `width`, 8, but is 3"):
        Neighbourhood(8, num_heads=3)


class TestNeighbourPredictor(PredictorContract):
    encoder_width = 8

    def make(self) -> NeighbourPredictor:
        return NeighbourPredictor(TransformerPredictor(8, 4, width=8, depth=1, num_heads=2), 8, num_heads=2)

    def tokens(self) -> Tokens:
        return Tokens(torch.randn(3, 12, 4), Grid((3, 4)))


def test_a_mixture_reads_inner_layers_by_hand() -> None:
    mixture = MixturePredictor(2, 3, num_layers=2, num_targets=1, begin="mean")
    codes = torch.randn(2, 1, 4, 2)
    inner = {n: Latent(codes[n - 1]) for n in (1, 2)}
    asked = torch.tensor([[True, False, True, False]])
    made = mixture(Latent(codes[1], inner=inner), Tokens(None, Grid((2, 2))), Mask(asked))
    torch.testing.assert_close(made.values, mixture.heads[0](codes.mean(0)[asked][None]))
    with pytest.raises(ValueError, match="`num_layers` must be at least 1, but is 0"):
        MixturePredictor(2, 3, 0, 1)


class Wide(Encoder):
    """Codes as wide as the values of the contract's step."""

    width, num_layers = 8, 1

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        return Latent(self.layer(tokens.values))


class TestCrossedCosine(TermContract):
    def make(self) -> CrossedCosine:
        return CrossedCosine(hidden_width=16, width=4)

    def model(self) -> SimpleNamespace:
        return SimpleNamespace(encoder=Wide())

    def step(self) -> Step:
        step = super().step()
        names = ("first", "second")
        codes = Latent.join({name: Latent(torch.randn(4, 3, 8).requires_grad_()) for name in names})
        views = {name: Tokens(torch.randn(4, 6, 8), Sequence()) for name in names}
        return step._replace(tokens=Tokens.join(views), latent=codes, mask=Mask.join(dict.fromkeys(names, step.mask)))

    def test_views_of_other_names_are_refused(self) -> None:
        term, model, _ = self._started()
        with pytest.raises(ValueError, match="A step must have a view `first`, but has no views"):
            term(super().step(), model)
