"""Frequency losses: Parseval, other code's numbers, and hidden frequencies alone."""

from __future__ import annotations

import pytest
import torch
from focal_frequency_loss import FocalFrequencyLoss as Theirs

from unmask import Given, Grid, Mask, Places, Prediction, Shown, Tokens
from unmask.losses import FocalFrequencyLoss, FrequencyLoss
from unmask.nn import assembled, cut
from unmask.testing import LossContract

LAYOUT = Grid((3, 2))


def pair(seed=0, count=4):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(count, 3, 12, 8, generator=generator) for _ in range(2)]


def compared(loss, images, hidden=None, asked=None, made=None):
    answers, target = (cut(one, LAYOUT, 6) for one in images)
    hidden = torch.ones(len(answers), 6, dtype=torch.bool) if hidden is None else hidden
    mask = Mask(hidden, predict=torch.ones_like(hidden) if asked is None else asked)
    tokens = Tokens(target, LAYOUT)
    given = Given({}, Shown(tokens, mask, made or {}))
    places = mask.asked
    return loss(Prediction(places.gather(answers), places), places.gather(target), given)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("largest_of", ["channel", "batch"])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.7])
def test_it_equals_the_authors_package(alpha, average, largest_of, log):
    images = pair()
    theirs = Theirs(alpha=alpha, ave_spectrum=average, log_matrix=log, batch_matrix=largest_of == "batch")
    ours = compared(FocalFrequencyLoss(3, alpha, log, largest_of, average), images)
    torch.testing.assert_close(ours.total, theirs(*images))


def test_gradients_equal_those_of_the_authors_package():
    images, again = pair(), pair()
    for one in (images[0], again[0]):
        one.requires_grad_()
    compared(FocalFrequencyLoss(3), images).total.backward()
    Theirs()(*again).backward()
    torch.testing.assert_close(images[0].grad, again[0].grad)


def test_squared_it_is_the_squared_error():
    images = pair()
    ours = compared(FrequencyLoss(3, exponent=2), images)
    torch.testing.assert_close(ours.total, (images[0] - images[1]).square().mean())
    torch.testing.assert_close(ours.per_token[1], (images[0] - images[1])[1].square().mean().expand(6))


def test_only_hidden_frequencies_count():
    images = pair()
    hidden = torch.zeros(4, 12, 8, dtype=torch.bool)
    hidden[0, 0, 0] = hidden[1, 2, 3] = hidden[2, :2] = True
    loss = compared(FrequencyLoss(3), images, made={"hidden_frequencies": hidden})
    difference = torch.fft.fft2(images[0] - images[1], norm="ortho").abs()
    expected = difference[hidden[:, None].expand_as(difference)].mean()
    torch.testing.assert_close(loss.total, expected, rtol=1e-5, atol=1e-6)
    # By hand: that of frequency 0 is the sum over the root of the number of pixels.
    alone = torch.zeros_like(hidden)
    alone[0, 0, 0] = True
    first = compared(FrequencyLoss(3), images, made={"hidden_frequencies": alone}).total
    by_hand = ((images[0] - images[1])[0].sum((1, 2)) / 96**0.5).abs().mean()
    torch.testing.assert_close(first, by_hand)


def test_where_nothing_is_asked_answers_are_taken_as_right():
    images = pair()
    asked = torch.tensor([True, False, True, True, False, False]).expand(4, 6)
    ours = compared(FrequencyLoss(3, 2), images, asked=asked)
    squares = cut((images[0] - images[1]).square(), LAYOUT, 6)
    torch.testing.assert_close(ours.total, squares[asked].sum() / squares.numel())


def test_visible_answers_count_in_part_and_without_gradient():
    images = pair()
    images[0].requires_grad_()
    hidden = torch.tensor([True, True, False, False, True, False]).expand(4, 6)
    loss = compared(FocalFrequencyLoss(3, visible=0.5), images, hidden=hidden)
    at = cut(images[0].detach(), LAYOUT, 6), cut(images[1], LAYOUT, 6)
    halved = torch.where(hidden[..., None], at[0], at[1] + 0.5 * (at[0] - at[1]))
    torch.testing.assert_close(loss.total, compared(FocalFrequencyLoss(3), [_back(halved), images[1]]).total)
    loss.total.backward()
    gradient = cut(images[0].grad, LAYOUT, 6)
    assert not gradient[~hidden].any()
    assert gradient[hidden].any()


def _back(cells):
    return assembled(cells, LAYOUT, 3)


def test_a_width_that_is_no_cell_is_refused():
    with pytest.raises(ValueError, match=r"`channels` must divide the 48 values .* but is 5; nearest: 3"):
        compared(FrequencyLoss(5), pair())
    with pytest.raises(ValueError, match="`exponent` must be at least 1"):
        FrequencyLoss(exponent=0.5)
    grouped = torch.zeros(1, 2, 1, dtype=torch.long)
    mask = Mask(torch.ones(1, 6, dtype=torch.bool))
    given = Given({}, Shown(Tokens(torch.zeros(1, 6, 48), LAYOUT), mask))
    with pytest.raises(ValueError, match="without groups"):
        FrequencyLoss(3)(Prediction(torch.zeros(1, 2, 1, 48), Places(grouped)), torch.zeros(1, 2, 1, 48), given)


class TestFrequencyLoss(LossContract):
    def make(self):
        return FrequencyLoss(2)


class TestFocalFrequencyLoss(LossContract):
    def make(self):
        return FocalFrequencyLoss(2, log=True)
