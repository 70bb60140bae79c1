"""An axis: its range, its ticks at round numbers, and where on it a value lies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

TIMES = "\N{MULTIPLICATION SIGN}"
DECADES = 1.5
"""Positive values that span more than so many are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Axis:
    """A range of values.

    Args:
        low: its beginning, above 0 where logarithmic.
        high: its end, above ``low``.
        ticks: values to label.
        logarithmic: equal lengths are equal factors.
        counts: its values are whole numbers, such as steps.
    """

    low: float
    high: float
    ticks: list[float]
    logarithmic: bool = False
    counts: bool = False

    def place(self, value: float) -> float:
        """Where ``value`` lies: 0 at ``low``, 1 at ``high``."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def labels(self) -> list[str]:
        """The ticks as text, with as many decimals as their distance needs."""
        if self.counts:
            return [count(int(tick)) for tick in self.ticks]
        if self.logarithmic or len(self.ticks) < 2:
            return [number(tick) for tick in self.ticks]
        distance = self.ticks[1] - self.ticks[0]
        greatest = max(abs(tick) for tick in self.ticks)
        if greatest >= 1e6 or greatest < 1e-3:
            digits = max(0, round(math.log10(greatest) - math.log10(distance)) + 1)
            return [number(tick, digits + 1) for tick in self.ticks]
        decimals = max(0, -math.floor(math.log10(distance) + 1e-9))
        return [f"{tick:,.{decimals}f}" for tick in self.ticks]


def value_axis(values: Iterable[float], logarithmic: bool | None = None) -> Axis:
    """The axis that shows ``values``, which are finite and at least one.

    Args:
        values: to be shown.
        logarithmic: None: where all are positive and span `DECADES`.
    """
    values = list(values)
    low, high = min(values), max(values)
    if logarithmic is None:
        logarithmic = low > 0 and math.log10(high) - math.log10(low) > DECADES
    if logarithmic:
        margin = (high / low) ** 0.04
        low, high = low / margin, high * margin
        return Axis(low, high, _decades(low, high), logarithmic=True)
    constant = high - low <= 1e-9 * max(abs(low), abs(high))  # up to rounding
    margin = (0.1 * abs(high) or 1.0) if constant else 0.06 * (high - low)
    floor = 0.0 if low >= 0 and low - margin < 0 else low - margin  # a loss is not drawn below zero
    return Axis(floor, high + margin, round_ticks(floor, high + margin))


def step_axis(last: int) -> Axis:
    """The axis of steps, from 0 to the end of step ``last``, which are counted from 0."""
    high = last + 1
    return Axis(0, high, [tick for tick in round_ticks(0, high) if tick == int(tick)], counts=True)


def round_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in [``low``, ``high``], some ``about`` of them."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    distance = min((factor * power for factor in (1, 2, 5, 10)), key=lambda d: abs(math.log(d / rough)))
    first, last = math.ceil(low / distance - 1e-9), math.floor(high / distance + 1e-9)
    return [i * distance for i in range(first, last + 1)]


def number(value: float, digits: int = 3) -> str:
    """``value`` to ``digits`` significant digits, for people: 0.0123, 1,230; tiny and huge as powers of ten."""
    if value != value or math.isinf(value):
        return str(value)
    size = abs(value)
    if size and not 1e-3 <= size < 1e6:
        mantissa, _, exponent = f"{value:.{max(digits - 1, 0)}e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{'' if mantissa == '1' else mantissa + TIMES}10{power}"
    if size >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def count(value: int) -> str:
    """A whole number, short from ten thousand on: 1,500, 20k, 1.5M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= max(size, 10**4):
            return f"{value / size:.4g}{letter}"
    return f"{value:,}"


def _decades(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    if last - first < 2:
        within = [f * 10.0**p for p in range(first - 1, last + 1) for f in (1, 2, 5)]
        return [tick for tick in within if low <= tick <= high]
    every = math.ceil((last - first) / 5)
    return [10.0**power for power in range(first, last + 1, every)]
