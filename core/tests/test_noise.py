"""Noise process: values of each schedule by hand, times, and a bound that no schedule changes."""

import itertools
import math

import pytest
import torch
from scipy.stats import chisquare, kstest

from unmask import Draws, Mask, Places, Prediction, Progress, Sequence, Tokens
from unmask.joint import weighted
from unmask.losses import MSELoss
from unmask.masks import DiffusionMask
from unmask.noise import Process

HALF = torch.tensor([0.5], dtype=torch.float64)


def streams(count, seed=0):
    return Draws.of(seed, torch.arange(count))


@pytest.mark.parametrize(
    ("process", "alpha", "weight"),
    [
        (Process("linear"), 0.5, 2.0),
        (Process("polynomial", power=2), 1 - 0.25, 2 * 0.5 / 0.25),
        (Process("polynomial", power=3), 1 - 0.125, 3 * 0.25 / 0.125),
        (Process("cosine"), 1 - math.cos(math.pi / 4), math.pi / 2 * math.sin(math.pi / 4) / math.cos(math.pi / 4)),
        (Process("linear", eps=0.1), 0.8 * 0.5 + 0.1, 0.8 / 0.5),
    ],
)
def test_schedules_by_hand(process, alpha, weight):
    assert process.alpha(HALF).item() == pytest.approx(alpha)
    assert process.hidden_share(HALF).item() == pytest.approx(1 - alpha)
    assert process.weight(HALF).item() == pytest.approx(weight)


@pytest.mark.parametrize("schedule", ["linear", "polynomial", "cosine"])
@pytest.mark.parametrize("eps", [0.0, 1e-4])
def test_weights_are_the_derivative(schedule, eps):
    process = Process(schedule, eps=eps)
    time = torch.linspace(0.05, 0.95, 19, dtype=torch.float64, requires_grad=True)
    alpha = process.alpha(time)
    (slope,) = torch.autograd.grad(alpha.sum(), time)
    torch.testing.assert_close(process.weight(time), -slope / (1 - alpha))
    ends = process.alpha(torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([1 - eps, eps], dtype=torch.float64))


@pytest.mark.parametrize("schedule", ["linear", "polynomial", "cosine"])
def test_transitions_lead_from_share_to_share(schedule):
    process = Process(schedule)
    grid = process.grid(10)
    left = torch.ones((), dtype=torch.float64)
    for now, then in itertools.pairwise(grid):
        left = left * (1 - process.transition(now, then))
        torch.testing.assert_close(left, process.hidden_share(then))
    assert process.transition(grid[-2], grid[-1]) == 1


def test_grids_by_hand():
    torch.testing.assert_close(Process().grid(4), torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=torch.float64))
    cosine = [1, math.cos(math.pi / 8), math.cos(math.pi / 4), math.cos(3 * math.pi / 8), 0]
    torch.testing.assert_close(Process().grid(4, "cosine"), torch.tensor(cosine, dtype=torch.float64))


def test_a_samples_time_is_the_same_in_any_batch():
    times = Process().times(streams(64))
    assert torch.equal(Process().times(streams(64)[10:20]), times[10:20])
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Process().times(streams(64)[order]), times[order])
    many = Process(shortest=0.1).times(streams(20_000))
    assert many.min() >= 0.1
    assert many.max() < 1
    assert kstest((many.numpy() - 0.1) / 0.9, "uniform").pvalue > 1e-3


def test_even_times_have_equal_distances_and_do_not_depend_on_places():
    process = Process()
    times = process.times(streams(64), even=True)
    steps = times.sort().values.diff()
    torch.testing.assert_close(steps, torch.full((63,), (1 - 1e-3) / 64), rtol=1e-3, atol=1e-6)
    assert times.min() >= 1e-3
    assert times.max() < 1
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(process.times(streams(64)[order], even=True), times[order])
    assert (times - process.times(streams(64))).abs().max() < 3 / math.sqrt(64)
    # Of one sample, over many batches: evenly from all of [0, 1).
    firsts = [process.times(streams(8, seed), even=True, step=seed)[0].item() for seed in range(2_000)]
    counts = torch.tensor(firsts).mul(10).long().bincount(minlength=10)
    assert chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("form", ["packed", "padded"])
def test_the_mask_hides_a_share_and_weighs_by_the_process(form):
    lengths = torch.tensor([30, 7, 19, 12]).repeat(250)
    valid = torch.arange(30) < lengths[:, None]
    tokens = Tokens(torch.zeros(1_000, 30, dtype=torch.long), Sequence(), valid=valid)
    if form == "packed":
        offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        tokens = Tokens(tokens.values[valid], Sequence(), offsets=offsets)
    mask = DiffusionMask()(tokens, None, streams(1_000))
    real = torch.ones_like(mask.hidden) if mask.valid is None else mask.valid
    assert not (mask.hidden & ~real).any()
    time = 1 / (mask.weight * real.sum())
    for low, high in ((0.0, 0.2), (0.4, 0.6), (0.8, 1.0)):
        here = real & (low <= time) & (time < high)
        assert mask.hidden[here].float().mean() == pytest.approx((low + high) / 2, abs=0.03)
    assert float((mask.weight * mask.hidden)[real].sum()) == pytest.approx(1, abs=0.1)
    part = Tokens(torch.zeros(3, 30, dtype=torch.long), Sequence(), valid=valid[4:7])
    alone = DiffusionMask()(part, None, streams(1_000)[4:7]).hidden[valid[4:7]]
    whole = mask.hidden[tokens.offsets[4] : tokens.offsets[7]] if form == "packed" else mask.hidden[4:7][valid[4:7]]
    assert torch.equal(alone, whole)


def test_no_schedule_changes_the_bound():
    """For a fixed model that is not told the time: the loss of a place depends on how many others are hidden."""
    costs = torch.tensor([0.5, 1.0, 3.0, 4.0, 9.0])  # by the number of hidden places of five
    means, errors = [], []
    for number, process in enumerate(
        (Process(shortest=0), Process("cosine", shortest=0), Process("polynomial", power=2, shortest=0))
    ):
        tokens = Tokens(torch.zeros(200_000, 5, dtype=torch.long), Sequence())
        mask = DiffusionMask(process)(tokens, Progress(), streams(200_000, number))
        count = mask.hidden.sum(1)
        losses = (mask.hidden * mask.weight).double().sum(1) * 200_000 * costs[count.clamp(min=1) - 1]
        means.append(losses.mean().item())
        errors.append(losses.std().item() / math.sqrt(200_000))
    # By hand: the integral of 1/t Binomial(k; 5, t) k cost(k) is the sum of the costs, over 5 places.
    for mean, error in zip(means, errors, strict=True):
        assert mean == pytest.approx(costs.sum().item() / 5, abs=3.5 * error)
        assert error < 0.05


def test_weights_of_a_mask_weigh_any_loss():
    """Of values, padded: the sum of losses times weights at the asked places."""
    torch.manual_seed(0)
    hidden = torch.tensor([[True, False, True, False], [False, True, False, False]])
    weight = torch.rand(2, 4)
    mask = Mask(hidden, weight=weight)
    answers, right = torch.randn(2, 2, 3), torch.randn(2, 2, 3)
    prediction = weighted(Prediction(answers, mask.asked), mask)
    loss = MSELoss()(prediction, right)
    each = ((answers - right) ** 2).mean(-1)
    by_hand = each[0, 0] * weight[0, 0] + each[0, 1] * weight[0, 2] + each[1, 0] * weight[1, 1]
    torch.testing.assert_close(loss.total, by_hand)
    assert loss.per_token[1, 1] == 0
    plain = Prediction(answers, Places(mask.asked.index, mask.asked.valid))
    assert weighted(plain, Mask(hidden)) is plain


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"schedule": "sine"}, "`schedule` must be linear, polynomial or cosine, but is 'sine'"),
        ({"power": 0}, "`power` must be above 0, but is 0"),
        ({"eps": 0.5}, r"`eps` must be in \[0, 0.5\), but is 0.5"),
        ({"shortest": 1}, r"`shortest` must be in \[0, 1\), but is 1"),
    ],
)
def test_what_is_no_process_is_told(options, told):
    with pytest.raises(ValueError, match=told):
        Process(**options)
    with pytest.raises(ValueError, match="`grid` must be one of even, cosine, but is 'odd'"):
        Process().grid(3, "odd")
