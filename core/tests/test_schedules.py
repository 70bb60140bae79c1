"""Schedules: endpoints and middles by hand."""

from __future__ import annotations

import math

import pytest

from unmask.schedules import Constant, Cosine, Linear, Progress, Schedule, Turns, at


def step(number: int, total: int = 100) -> Progress:
    return Progress(step=number, total_steps=total)


def test_a_constant_is_constant() -> None:
    assert [Constant(0.3)(step(n)) for n in (0, 50, 100)] == [0.3] * 3


def test_a_number_stands_for_itself() -> None:
    assert at(1, step(7)) == 1.0
    assert isinstance(at(1, step(7)), float)
    assert at(Linear(0, 10), step(7)) == pytest.approx(0.7)


@pytest.mark.parametrize(("number", "value"), [(0, 0.3), (25, 0.25), (50, 0.2), (100, 0.1), (1000, 0.1)])
def test_linear(number: int, value: float) -> None:
    assert Linear(0.3, 0.1)(step(number)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("number", "value"),
    [(0, 1.0), (25, (1 + math.sqrt(0.5)) / 2), (50, 0.5), (75, (1 - math.sqrt(0.5)) / 2), (100, 0), (500, 0)],
)
def test_cosine(number: int, value: float) -> None:
    assert Cosine(1, 0)(step(number)) == pytest.approx(value, abs=1e-12)


def test_cosine_rises_too() -> None:
    third = Cosine(0.04, 0.4)(step(1, 3))  # cos(pi / 3) = 1 / 2: a quarter of the way
    assert third == pytest.approx(0.04 + 0.36 / 4)


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_by_epoch_ignores_steps(kind: type[Linear]) -> None:
    schedule = kind(2, 4, by="epoch")
    now = Progress(step=9, epoch=5, total_steps=10, total_epochs=10)
    assert schedule(now) == pytest.approx(3)
    assert kind(2, 4)(now) > 3.7


def test_over_counts_instead_of_the_total() -> None:
    schedule = Linear(0, 1, over=20)
    assert [schedule(step(n)) for n in (5, 20, 90)] == [0.25, 1, 1]
    assert schedule(Progress(step=5)) == 0.25, "the total need not be known"


def test_delay() -> None:
    to_the_end = Linear(0, 1, delay=60)
    assert [to_the_end(step(n)) for n in (0, 60, 70, 100)] == pytest.approx([0, 0, 0.25, 1])
    short = Linear(0, 1, delay=60, over=10)
    assert [short(step(n)) for n in (60, 65, 70, 100)] == pytest.approx([0, 0.5, 1, 1])


@pytest.mark.parametrize("by", ["step", "epoch"])
def test_without_a_known_total_it_stays_at_the_start(by: str) -> None:
    for kind in (Linear, Cosine):
        assert kind(0.3, 0.1, by=by)(Progress(step=5, epoch=5)) == pytest.approx(0.3)  # type: ignore[arg-type]
        assert kind(0.3, 0.1, by=by)(Progress(5, 5, -1, -1)) == pytest.approx(0.3)  # type: ignore[arg-type]


def test_a_delay_longer_than_the_run_never_starts() -> None:
    assert Linear(0, 1, delay=200)(step(100)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "batch"}, "`by` must be 'step' or 'epoch', but is 'batch'"),
        ({"over": 0}, "`over` must be at least 1 step, but is 0"),
        ({"delay": -1, "by": "epoch"}, "`delay` must be at least 0 epochs, but is -1"),
    ],
)
def test_errors(arguments: dict, message: str) -> None:
    for kind in (Linear, Cosine):
        with pytest.raises(ValueError, match=message):
            kind(0, 1, **arguments)


def test_schedules_compare_by_value() -> None:
    assert Linear(0, 1) == Linear(0, 1)
    assert Linear(0, 1) != Linear(0, 1, delay=1)
    assert isinstance(Cosine(0, 1), Schedule)


def test_turns() -> None:
    for number in range(3):
        own = [Turns(number, 3, 2)(Progress(epoch=epoch, step=1)) for epoch in range(8)]
        assert own == [float(epoch // 2 % 3 == number) for epoch in range(8)]
    assert Turns(1, 2, by="step")(Progress(step=3, epoch=2)) == 1.0
    for arguments, message in (
        ({"number": 2, "count": 2}, r"`number` must be in \[0, 2\), but is 2"),
        ({"number": 0, "count": 0}, "`count` must be at least 1, but is 0"),
        ({"number": 0, "count": 1, "length": 0}, "`length` must be at least 1, but is 0"),
        ({"number": 0, "count": 1, "by": "day"}, "`by` must be 'step' or 'epoch', but is 'day'"),
    ):
        with pytest.raises(ValueError, match=message):
            Turns(**arguments)
