"""Neighbours on a grid, by hand."""

from __future__ import annotations

import pytest
import torch

from unmask import Grid, Tokens
from unmask.nn.neighbours import Neighbourhood, nearest_around
from unmask.predictors import NeighbourPredictor, TransformerPredictor
from unmask.testing import PredictorContract

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
