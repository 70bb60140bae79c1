"""Masks by score: which places are hidden, how many, and that the scores alone decide it."""

import pytest
import torch

from unmask import Candidates, Grid, Linear, Progress, Sequence, Set, Tokens
from unmask.masks import AttentionScorer, RandomMask, ScoredMask, Scorer, shares_of
from unmask.nn import PrototypeHead
from unmask.testing import MaskContract
from unmask.testing.contract import streams


class FirstValue(Scorer):
    """The first value of each place."""

    def forward(self, among: Candidates) -> torch.Tensor:
        return among.dense(among.tokens.values)[..., 0]


class TestScoredMask(MaskContract):
    layouts = (Set(), Sequence(), Grid((6, 8)), Grid((2, 4, 6)))
    ragged = (Set, Sequence, Grid)

    def make(self, **options):
        return ScoredMask(FirstValue(), **{"guided": 0.5, **options})


def drawn(scores, number=1, seed=0, progress=None, **options):
    tokens = Tokens(torch.tensor(scores, dtype=torch.float32)[None, :, None].expand(number, -1, -1), Sequence())
    return ScoredMask(FirstValue(), **options)(tokens, progress or Progress(), streams(tokens, seed)).hidden


RISING = [0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_the_highest_or_the_lowest_are_hidden():
    assert drawn(RISING, ratio=0.3)[0].nonzero().flatten().tolist() == [7, 8, 9]
    assert drawn(RISING, ratio=0.3, order="low")[0].nonzero().flatten().tolist() == [0, 1, 2]


def test_both_rules_of_counting():
    """Of 10 places a quarter is 3 by N - floor(N (1 - r)), and 2 by floor(N r); the least is one."""
    assert drawn(RISING, ratio=0.25).sum() == 3
    assert drawn(RISING, ratio=0.25, rounding="down").sum() == 2
    assert drawn(RISING, ratio=0.05, rounding="down").sum() == 1
    assert drawn([0.0] * 196, ratio=0.9, rounding="down").sum() == 176


def test_a_share_is_guided_and_the_rest_is_even():
    hidden = drawn(RISING, number=4000, ratio=0.6, guided=0.5)
    assert hidden[:, 7:].all()
    torch.testing.assert_close(hidden[:, :7].float().mean(0), torch.full((7,), 3 / 7), rtol=0, atol=0.03)


def test_unguided_it_is_the_random_mask_bit_for_bit():
    tokens = Tokens(torch.randn(5, 12, 1), Sequence())
    masks = (ScoredMask(FirstValue(), 0.6, guided=0.0), RandomMask(0.6))
    one, other = (mask(tokens, Progress(), streams(tokens)).hidden for mask in masks)
    assert torch.equal(one, other)


def test_guidance_may_be_scheduled():
    guided = Linear(start=0.0, end=1.0)
    hidden = drawn(RISING, ratio=0.4, guided=guided, progress=Progress(step=5, total_steps=10))
    assert hidden[0, 8:].all() and hidden.sum() == 4


def test_draws_without_replacement_follow_the_scores():
    """First-order chances of two draws by hand: p_i + sum over j of p_j p_i / (1 - p_j)."""
    p = torch.tensor([0.1, 0.2, 0.3, 0.4])
    expected = torch.stack([p[i] + sum(p[j] * p[i] / (1 - p[j]) for j in range(4) if j != i) for i in range(4)])
    for order in ("high", "low"):
        hidden = drawn([1.0, 2, 3, 4], number=20000, ratio=0.5, sampling="multinomial", order=order)
        chosen = hidden if order == "high" else ~hidden
        torch.testing.assert_close(chosen.float().mean(0), expected, rtol=0, atol=0.015)


def test_places_of_no_score_are_drawn_last():
    hidden = drawn([0.0, 0, 0, 1, 2], number=50, ratio=0.5, sampling="multinomial", order="low")
    assert not hidden[:, 3:].any()


def test_hints_are_drawn_of_the_highest():
    """20 places, 10 of the highest scores hidden, of the 4 highest 2 are shown."""
    rising = [float(i) for i in range(20)]
    hidden = drawn(rising, number=2000, ratio=0.5, hints=0.1, hint_pool=0.2)
    assert (hidden.sum(1) == 8).all() and hidden[:, 10:16].all() and not hidden[:, :10].any()
    torch.testing.assert_close(hidden[:, 16:].float().mean(0), torch.full((4,), 0.5), rtol=0, atol=0.05)


def test_a_chance_hides_nothing_of_some_samples():
    counts = drawn(RISING, number=2000, ratio=0.3, chance=0.25).sum(1)
    assert set(counts.tolist()) == {0, 3}
    assert 0.2 < (counts > 0).float().mean() < 0.3


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"order": "up"}, "`order` must be one of high, low, but is 'up'"),
        ({"sampling": "all"}, "`sampling` must be one of top, multinomial"),
        ({"rounding": "even"}, "`rounding` must be one of up, down"),
        ({"guided": 1.5}, r"`guided` must be in \[0, 1\], but is 1.5"),
        ({"hints": 1.0}, r"`hints` must be in \[0, 1\), but is 1"),
        ({"chance": 0.0}, r"`chance` must be in \(0, 1\], but is 0"),
        ({"hints": 0.1, "order": "low"}, "`hints` must be 0 for `order` 'low'"),
        ({"sampling": "multinomial", "guided": 0.5}, "`guided` must be 1 for `sampling` 'multinomial', but is 0.5"),
    ],
)
def test_bad_options_are_refused(options, why):
    with pytest.raises(ValueError, match=why):
        ScoredMask(FirstValue(), **options)


def test_an_attention_scorer_needs_a_teacher():
    tokens = Tokens(torch.randn(2, 6, 1), Sequence())
    with pytest.raises(ValueError, match="works as a part of a model, but is in none"):
        ScoredMask(AttentionScorer())(tokens)


def test_shares_of_groups_are_equal_and_add_up():
    counts = torch.tensor([[3, 5, 0, 8], [1, 1, 1, 1]])
    shares = shares_of(counts, torch.tensor([6, 2]))
    assert shares.sum(1).tolist() == [6, 2]
    assert shares[0].tolist() == [1, 2, 0, 3], "3 * 6 / 16 = 1.125, 1.875, 0, 3"
    assert (shares <= counts).all()


def test_prototypes_out_of_range_are_refused():
    with pytest.raises(ValueError, match="`num_prototypes` must be at least 1, but is 0"):
        PrototypeHead(4, 0)
