"""Draws: a published stream number by number, what a sample's numbers depend on, and how they are distributed."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import chisquare, gumbel_r, kstest, norm

from unmask import seeds
from unmask.draws import Draws
from unmask.structures import Sequence, Tokens

PUBLISHED = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
"""The first numbers of SplitMix64 from seed 0, as in its authors' code."""
UNLIKELY = 1e-3


def streams(num: int, seed: int = 0) -> Draws:
    return Draws.of(seed, torch.arange(num))


def tokens_of(lengths: list[int], width: int | None = None, packed: bool = False) -> Tokens:
    if packed:
        offsets = torch.tensor([0, *lengths]).cumsum(0)
        return Tokens(torch.zeros(sum(lengths), 1), Sequence(), offsets=offsets)
    width = width or max(lengths)
    valid = torch.arange(width) < torch.tensor(lengths)[:, None]
    return Tokens(torch.zeros(len(lengths), width, 1), Sequence(), valid=valid)


@pytest.mark.parametrize("packed", [True, False])
def test_keys_are_split_as_splitmix64_goes_on(packed: bool) -> None:
    split = Draws(torch.zeros(1, dtype=torch.long)).over(tokens_of([3], packed=packed)).keys.flatten()
    assert [key % 2**64 for key in split.tolist()] == PUBLISHED


def test_a_number_of_a_call_is_the_upper_half_of_splitmix64s() -> None:
    """Without a shape, call after call: the 24 highest bits of the published numbers."""
    draws = Draws(torch.zeros(1, dtype=torch.long))
    assert [draws.uniform().item() * 2**24 for _ in range(3)] == [number >> 40 for number in PUBLISHED]


def test_numbers_go_on_and_begin_again() -> None:
    draws = streams(4)
    first, second = draws.uniform(5), draws.uniform(5)
    assert not (first == second).any()
    again = streams(4)
    assert torch.equal(again.uniform(5), first)
    assert torch.equal(again[1:3].uniform(5), second[1:3]), "some of the streams go on from where all stand"
    assert torch.equal(again.uniform(5), second), "and leave those where they are"


@pytest.mark.parametrize("call", ["uniform", "normal", "gumbel"])
def test_a_samples_numbers_are_the_same_in_any_batch_and_order(call: str) -> None:
    whole = getattr(streams(32), call)(7, 3)
    for index in (torch.tensor([5]), torch.tensor([31, 0, 5, 5]), torch.arange(31, -1, -1)):
        assert torch.equal(getattr(Draws.of(0, index), call)(7, 3), whole[index])


def test_a_longer_row_begins_with_the_shorter_one() -> None:
    short, long = streams(8).uniform(20), streams(8).uniform(300)
    assert torch.equal(long[:, :20], short)
    assert torch.equal(streams(8).uniform(2, 20)[:, 0], streams(8).uniform(9, 20)[:, 0])


def test_padding_and_packing_change_no_tokens_numbers() -> None:
    lengths = [7, 1, 12, 4]
    dense, wide, packed = tokens_of(lengths), tokens_of(lengths, width=40), tokens_of(lengths, packed=True)
    assert dense.valid is not None and wide.valid is not None
    for call in ("uniform", "normal", "gumbel"):
        expected = getattr(streams(4).over(packed), call)(3)
        assert expected.shape == (24, 3)
        assert torch.equal(getattr(streams(4).over(dense), call)(3)[dense.valid], expected)
        assert torch.equal(getattr(streams(4).over(wide), call)(3)[wide.valid], expected)
        assert len(expected.unique(dim=0)) == 24, "each token has a stream of its own"
    one = streams(4)[2:3].over(tokens_of([12])).uniform(3)
    assert torch.equal(one[0], streams(4).over(dense).uniform(3)[2]), "whatever samples lie before"


def test_an_empty_sample_takes_no_numbers() -> None:
    packed = streams(3).over(tokens_of([2, 0, 3], packed=True)).uniform()
    assert torch.equal(packed[:2], streams(3).over(tokens_of([2, 1, 3])).uniform()[0, :2])
    assert torch.equal(packed[2:], streams(3).over(tokens_of([2, 1, 3])).uniform()[2])


def test_named_streams_begin_anew_and_are_unrelated() -> None:
    draws = streams(200)
    plain = draws.uniform(50)
    one, other = draws.named("one"), draws.named("other")
    assert torch.equal(one.uniform(50), streams(200).named("one").uniform(50)), "as if nothing had been drawn"
    drawn = [plain, streams(200).named("one").uniform(50), other.uniform(50), one.named("one").uniform(50)]
    drawn.append(draws.named("one").named("other").uniform(50))
    drawn.append(draws.named("other").named("one").uniform(50))
    correlation = torch.corrcoef(torch.stack(drawn).flatten(1).double()) - torch.eye(6)
    assert correlation.abs().max() < 4.5 / math.sqrt(10_000)


def test_what_is_shared_depends_on_the_seed_and_the_step_alone() -> None:
    first = streams(9).shared(3).uniform(4)
    assert first.shape == (1, 4)
    assert torch.equal(Draws.of(0, torch.tensor([77, 5])).shared(3).uniform(4), first)
    assert not (streams(9).shared(4).uniform(4) == first).any()
    assert not (streams(9, seed=1).shared(3).uniform(4) == first).any()
    assert not (streams(9).named("other").shared(3).uniform(4) == first).any()


def test_fresh_streams_are_torchs() -> None:
    torch.manual_seed(3)
    first, second = Draws.fresh(4).uniform(3), Draws.fresh(4).uniform(3)
    torch.manual_seed(3)
    assert torch.equal(Draws.fresh(4).uniform(3), first)
    assert not (first == second).any()


def test_drawing_leaves_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    draws = streams(4)
    draws.uniform(3), draws.normal(3), draws.gumbel(3), draws.integers(4), draws.categorical(torch.ones(4, 3))
    assert torch.equal(before, torch.get_rng_state())


# Distributions


@pytest.mark.parametrize("shape", [(400,), (20, 20)])
def test_uniform_numbers_are_even(shape: tuple[int, ...]) -> None:
    drawn = streams(1000).uniform(*shape)
    assert drawn.dtype == torch.float32
    assert drawn.shape == (1000, *shape)
    assert drawn.min() >= 0 and drawn.max() < 1
    counts = torch.histc(drawn, 1000, 0, 1)
    assert UNLIKELY < chisquare(counts.numpy()).pvalue < 1 - UNLIKELY
    # Their low bits as well: the multiples of 2^-24 modulo 256.
    low = (drawn.double() * 2**24).long() % 256
    assert UNLIKELY < chisquare(torch.bincount(low.flatten(), minlength=256).numpy()).pvalue < 1 - UNLIKELY


def test_each_place_of_a_row_is_even_over_samples() -> None:
    drawn = streams(4000).uniform(50)
    places = [chisquare(torch.histc(drawn[:, place], 20, 0, 1).numpy()).pvalue for place in range(50)]
    assert min(places) > UNLIKELY / 50
    assert kstest(places, "uniform").pvalue > UNLIKELY


def test_normal_and_gumbel_numbers_are_distributed_as_their_names_say() -> None:
    normal, gumbel = streams(500).normal(400).flatten().double(), streams(500).gumbel(400).flatten().double()
    assert torch.isfinite(normal).all() and torch.isfinite(gumbel).all()
    assert kstest(normal.numpy(), norm.cdf).pvalue > UNLIKELY
    assert kstest(gumbel.numpy(), gumbel_r.cdf).pvalue > UNLIKELY
    error = 4 / math.sqrt(len(normal))
    assert normal.mean().abs() < error
    assert (normal.square().mean() - 1).abs() < error * math.sqrt(2)
    assert normal.pow(3).mean().abs() < error * math.sqrt(15)
    assert (normal.pow(4).mean() - 3).abs() < error * math.sqrt(96)
    assert (gumbel.mean() - 0.5772156649).abs() < error * math.pi / math.sqrt(6)
    assert (gumbel.var() - math.pi**2 / 6).abs() < error * math.sqrt(4.4) * math.pi**2 / 6


def test_extreme_numbers_stay_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    least, most = torch.tensor([0, -1], dtype=torch.int32)  # all bits 0, and all 1
    for bits in (least, most):
        monkeypatch.setattr(Draws, "_bits", lambda self, shape, bits=bits: bits.expand(2, *shape).clone())
        draws = streams(2)
        assert ((draws.uniform(3) >= 0) & (draws.uniform(3) < 1)).all()
        assert torch.isfinite(draws.normal(3)).all()
        assert torch.isfinite(draws.gumbel(3)).all()
        assert torch.isin(draws.integers(5, 3), torch.tensor([0, 4])).all()
        assert torch.isin(draws.categorical(torch.ones(2, 3)), torch.tensor([0, 2])).all()


@pytest.mark.parametrize("high", [1, 2, 7, 1000])
def test_integers_are_even(high: int) -> None:
    drawn = streams(500).integers(high, 400)
    assert (drawn.dtype, drawn.shape) == (torch.int64, (500, 400))
    counts = torch.bincount(drawn.flatten(), minlength=high)
    assert len(counts) == high
    if high > 1:
        assert UNLIKELY < chisquare(counts.numpy()).pvalue < 1 - UNLIKELY


def test_integers_below_large_bounds_fill_them() -> None:
    drawn = streams(500).integers(2**31, 400).double()
    assert drawn.min() >= 0 and drawn.max() < 2**31
    assert kstest((drawn / 2**31).flatten().numpy(), "uniform").pvalue > UNLIKELY


def test_integers_may_have_a_bound_for_each_stream() -> None:
    high = torch.tensor([1, 3, 10, 2**31])
    drawn = streams(4).integers(high, 4000)
    for row, bound in zip(drawn, high.tolist(), strict=True):
        assert row.min() >= 0 and row.max() < bound
        bins = min(bound, 10)
        counts = torch.bincount(row * bins // bound, minlength=bins)
        assert len(counts) == bins
        if bins > 1:
            assert UNLIKELY < chisquare(counts.numpy()).pvalue < 1 - UNLIKELY
    alone = streams(4)[1:2].integers(3, 4000)
    assert torch.equal(alone[0], drawn[1])
    single = streams(2000).over(tokens_of([5] * 2000)).integers(torch.arange(1, 6).expand(2000, 5))
    assert single.shape == (2000, 5)
    assert (single.amax(0) == torch.arange(5)).all()


def test_classes_are_drawn_by_their_probabilities() -> None:
    chances = torch.tensor([0.5, 0.0, 0.25, 0.05, 0.2, 0.0])
    scale = torch.linspace(0.1, 30, 20_000)[:, None]  # they need not sum to 1
    drawn = streams(20_000).categorical(chances * scale)
    counts = torch.bincount(drawn, minlength=6)
    assert counts[[1, 5]].tolist() == [0, 0], "what cannot be never is"
    kept = chances > 0
    assert UNLIKELY < chisquare(counts[kept].numpy(), (chances[kept].double() * 20_000).numpy()).pvalue < 1 - UNLIKELY
    certain = torch.nn.functional.one_hot(torch.arange(50) % 7, 7).float()
    assert torch.equal(streams(50).categorical(certain), torch.arange(50) % 7)


# Independence


def correlations(drawn: torch.Tensor) -> torch.Tensor:
    """Of every two rows, in standard deviations of what chance would have them be."""
    found = torch.corrcoef(drawn.double())
    return found[~torch.eye(len(drawn), dtype=torch.bool)] * math.sqrt(drawn.shape[1])


@pytest.mark.parametrize("lag", [1, 2, 64])
def test_neighbouring_samples_and_places_are_unrelated(lag: int) -> None:
    drawn = streams(1000).uniform(200).double() - 0.5
    for one, other in (
        (drawn[lag:], drawn[:-lag]),
        (drawn[:, lag:], drawn[:, :-lag]),
        (drawn[lag:, lag:], drawn[:-lag, :-lag]),
    ):
        pairs = one * other * 12  # mean 0 and variance 1
        assert pairs.mean().abs() < 4 / math.sqrt(pairs.numel())


def test_neighbouring_seeds_and_epochs_are_unrelated() -> None:
    by_seed = [streams(20, seed=seed).uniform(500).flatten() for seed in (0, 1, 2, 3, 2**40, 2**40 + 1)]
    by_epoch = [streams(20, seeds.mix(0, "train", epoch)).uniform(500).flatten() for epoch in range(6)]
    found = correlations(torch.stack([*by_seed, *by_epoch]))
    assert found.abs().max() < 4.5
    assert 0.7 < found.std() < 1.3


def test_calls_are_unrelated_to_each_other() -> None:
    draws = streams(100)
    found = correlations(torch.stack([draws.uniform(200).flatten() for _ in range(12)]))
    assert found.abs().max() < 4.5


def test_pairs_of_neighbours_fill_the_square_evenly() -> None:
    drawn = (streams(2000).uniform(100) * 16).long()
    for one, other in ((drawn[1:], drawn[:-1]), (drawn[:, 1::2], drawn[:, ::2])):
        counts = torch.bincount((one * 16 + other).flatten(), minlength=256)
        assert UNLIKELY < chisquare(counts.numpy()).pvalue < 1 - UNLIKELY


def test_no_two_streams_are_the_same() -> None:
    keys = torch.cat([streams(100_000, seed).keys for seed in range(5)])
    assert len(keys.unique()) == 500_000
