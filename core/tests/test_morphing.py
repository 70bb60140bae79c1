"""Groups of alike tokens, by hand; and relations between places."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from unmask import Given, Latent, Mask, Places, Prediction, Progress, Sequence, Shown, Step, Target, Tokens
from unmask.draws import Draws
from unmask.losses import L1Loss, MorphedLoss
from unmask.losses.morphed import merged
from unmask.step import NOTHING
from unmask.terms import Relations

FOUR = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.1, 1.0], [1.0, 0.1]]])
REAL = torch.ones(1, 4, dtype=torch.bool)


def groups(tokens: torch.Tensor, merges: int, rounds: int, real: torch.Tensor = REAL) -> list[int]:
    return merged(tokens, real, torch.tensor([merges]), torch.tensor([rounds]), 5)[0].tolist()


def test_four_tokens_by_hand() -> None:
    """Places 1 and 3 may join 0 or 2: 1 is as 2 is, 3 is as 0 is; cosines 0.9950 both, 1 first."""
    assert groups(FOUR, 0, 1) == [0, 1, 2, 3]
    assert groups(FOUR, 1, 1) in ([0, 2, 2, 3], [0, 1, 2, 0])
    assert groups(FOUR, 2, 1) == [0, 2, 2, 0]
    assert groups(FOUR, 4, 1) == [0, 2, 2, 0], "half of what is left in a round"
    # A second round has 0 and 2 left: 2 joins the first, which never joins another.
    assert groups(FOUR, 3, 2) == [0, 0, 0, 0]
    assert groups(FOUR, 3, 5) == [0, 0, 0, 0]


def test_fillers_stay_by_themselves() -> None:
    assert groups(FOUR, 4, 1, torch.tensor([[True, True, False, False]])) == [0, 0, 2, 3]


def test_it_is_a_partition_of_as_many_groups_as_are_not_merged() -> None:
    torch.manual_seed(0)
    tokens, real = torch.randn(5, 20, 3), torch.ones(5, 20, dtype=torch.bool)
    merges = torch.tensor([0, 3, 7, 10, 15])
    owner = merged(tokens, real, merges, torch.tensor([1, 1, 3, 2, 5]), 5)
    assert [len(row.unique()) for row in owner] == [20, 17, 13, 10, 5]
    assert torch.equal(owner.gather(1, owner), owner), "whom a token belongs to is a group's own"
    assert (owner[:, 0] == 0).all()


def test_the_loss_is_of_means_over_groups() -> None:
    answers = torch.tensor([[[1.0, 1.0], [2.0, 0.0], [4.0, 4.0], [3.0, 5.0]]])
    loss = MorphedLoss(L1Loss(), num_morphings=1, max_rounds=1)
    loss._groups = lambda *_: torch.tensor([[0, 2, 2, 0]])  # type: ignore[method-assign]
    value = loss(Prediction(answers, Places(torch.arange(4)[None])), FOUR)
    # Answers 0 and 3: (2, 3); targets (1, 0.05). Answers 1 and 2: (3, 2); targets (0.05, 1.5).
    first, second = (1 + 2.95) / 2, (2.95 + 0.5) / 2
    torch.testing.assert_close(value.per_token, torch.tensor([[first, second, second, first]]))
    assert value.total.item() == pytest.approx((first + second) / 2)


def test_how_many_are_merged_is_drawn_for_each_sample() -> None:
    loss = MorphedLoss(max_merges=6)
    tokens = torch.randn(200, 12, 4)
    owner = loss._groups(tokens, None, Draws.of(0, torch.arange(200)))
    counts = {len(row.unique()) for row in owner}
    assert counts == {12, 11, 10, 9, 8, 7, 6}
    with pytest.raises(ValueError, match="`max_rounds` must be at least 1, but is 0"):
        MorphedLoss(max_rounds=0)


class Features(Target):
    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> torch.Tensor:
        return mask.asked.gather(self.values)


def related(codes: torch.Tensor, features: torch.Tensor, hidden: Any = None, **options: Any) -> float:
    """Of one sample of three places."""
    tokens = Tokens(torch.zeros(1, 3, 1), Sequence())
    mask = Mask(torch.zeros(1, 3, dtype=torch.bool) if hidden is None else hidden)
    latent = Latent(codes, mask.visible if hidden is not None else None)
    given = Given(None, Shown(tokens, mask), Progress())
    step = Step(tokens, mask, None, latent, None, NOTHING.loss, {}, given)  # type: ignore[arg-type]
    return float(Relations(Features(features), **options)(step, None))


def test_relations_of_three_places_by_hand() -> None:
    codes = torch.tensor([[[1.0], [0.0], [2.0]]])
    features = torch.tensor([[[0.0], [1.0], [1.0]]])
    assert related(codes, codes) == 0
    assert related(codes, codes, form="mse") == 0

    def chances(row: list[float]) -> list[float]:
        return [math.exp(one) / sum(map(math.exp, row)) for one in row]

    by_hand = 0.0
    for mine, theirs in zip([[1, 0, 2], [0, 0, 0], [2, 0, 4]], [[0, 0, 0], [0, 1, 1], [0, 1, 1]], strict=True):
        by_hand += sum(t * math.log(t / m) for m, t in zip(chances(mine), chances(theirs), strict=True)) / 3
    assert related(codes, features) == pytest.approx(by_hand, rel=1e-5)
    # Cosines are 1 between places other than 0, and 0 with it: 5 of 9 pairs are the same.
    assert related(codes, features, form="mse") == pytest.approx(6 / 9)


def test_relations_are_of_the_places_that_were_seen() -> None:
    codes = torch.tensor([[[1.0], [2.0]]])
    features = torch.tensor([[[1.0], [50.0], [2.0]]])
    assert related(codes, features, torch.tensor([[False, True, False]])) == pytest.approx(0, abs=1e-7)
    with pytest.raises(ValueError, match="`form` must be one of kl, mse, but is 'l2'"):
        Relations(Features(features), form="l2")  # type: ignore[arg-type]
