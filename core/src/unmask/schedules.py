"""Values that change during a run: mask ratios, EMA momenta, weight decay, temperatures.

A schedule is a function of `Progress`. A plain number is the constant schedule, so every
argument typed ``float | Schedule`` takes either: ``--model.mask.ratio 0.6`` or
``--model.mask.ratio Linear --model.mask.ratio.start 0.3 --model.mask.ratio.end 0.15``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Progress:
    """Where a run stands. A total of 0 means "not known" (no trainer attached).

    Args:
        step: optimiser steps done.
        epoch: epochs done.
        total_steps: optimiser steps of the whole run.
        total_epochs: epochs of the whole run.
    """

    step: int = 0
    epoch: int = 0
    total_steps: int = 0
    total_epochs: int = 0


class Schedule(ABC):
    """A number as a function of the run's progress."""

    @abstractmethod
    def __call__(self, progress: Progress) -> float:
        """The value at ``progress``."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value throughout."""

    value: float

    def __call__(self, progress: Progress) -> float:
        return self.value


@dataclass(frozen=True)
class _Ramp(Schedule):
    start: float
    end: float
    by: Literal["step", "epoch"] = "step"
    over: int | None = None
    delay: int = 0

    def __post_init__(self) -> None:
        if self.by not in ("step", "epoch"):
            raise ValueError(f"`by` must be 'step' or 'epoch', but is {self.by!r}.")
        if self.over is not None and self.over < 1:
            raise ValueError(f"`over` must be at least 1 {self.by}, but is {self.over}.")
        if self.delay < 0:
            raise ValueError(f"`delay` must be at least 0 {self.by}s, but is {self.delay}.")

    def fraction(self, progress: Progress) -> float:
        """How much of the way from start to end is done, in [0, 1]."""
        done, total = (
            (progress.step, progress.total_steps) if self.by == "step" else (progress.epoch, progress.total_epochs)
        )
        over = self.over if self.over is not None else total - self.delay
        return min(max((done - self.delay) / over, 0.0), 1.0) if over > 0 else 0.0


@dataclass(frozen=True)
class Linear(_Ramp):
    """From ``start`` to ``end`` in a straight line, then ``end``.

    Args:
        start: value at the beginning.
        end: value at the end.
        by: count optimiser steps or epochs.
        over: how many of them the way takes; None: until the end of the run.
        delay: how many pass at ``start`` before the way begins.

    Raises:
        ValueError: ``by``, ``over`` or ``delay`` outside its range.
    """

    def __call__(self, progress: Progress) -> float:
        return self.start + (self.end - self.start) * self.fraction(progress)


@dataclass(frozen=True)
class Cosine(_Ramp):
    """From ``start`` to ``end`` along half a cosine: flat at both ends. Arguments as `Linear`."""

    def __call__(self, progress: Progress) -> float:
        fraction = self.fraction(progress)
        return self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * fraction))


@dataclass(frozen=True)
class Turns(Schedule):
    """1 in one's own turn, else 0: several objectives that are trained one after the other, over and over.

    Args:
        number: of one's own turn, in [0, count).
        count: of all who take turns, at least 1.
        length: of a turn, at least 1.
        by: count optimiser steps or epochs.

    Raises:
        ValueError: a number outside its range, or another word.
    """

    number: int
    count: int
    length: int = 1
    by: Literal["step", "epoch"] = "epoch"

    def __post_init__(self) -> None:
        if self.by not in ("step", "epoch"):
            raise ValueError(f"`by` must be 'step' or 'epoch', but is {self.by!r}.")
        if self.count < 1 or self.length < 1:
            name = "count" if self.count < 1 else "length"
            raise ValueError(f"`{name}` must be at least 1, but is {getattr(self, name)}.")
        if not 0 <= self.number < self.count:
            raise ValueError(f"`number` must be in [0, {self.count}), but is {self.number}.")

    def __call__(self, progress: Progress) -> float:
        done = progress.step if self.by == "step" else progress.epoch
        return float(done // self.length % self.count == self.number)


def at(value: float | Schedule, progress: Progress) -> float:
    """The number that ``value`` stands for at ``progress``."""
    return value(progress) if isinstance(value, Schedule) else float(value)


class Spread(ABC):
    """A number drawn for each sample by itself: what a share of the samples, spread evenly, stands for."""

    @abstractmethod
    def __call__(self, share: Tensor) -> Tensor:
        """The numbers below which these shares of all samples lie, ``[B]`` in [0, 1)."""


@dataclass(frozen=True)
class Uniform(Spread):
    """Evenly between two bounds.

    Args:
        low: the least.
        high: the greatest, at least ``low``.

    Raises:
        ValueError: bounds in the wrong order.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"`high` must be at least `low`, {self.low}, but is {self.high}.")

    def __call__(self, share: Tensor) -> Tensor:
        return self.low + share.double() * (self.high - self.low)


@dataclass(frozen=True)
class TruncatedNormal(Spread):
    """From a normal distribution, between two bounds (MAGE, Li et al. 2023, section 3.1, for ratios).

    Args:
        mean: of the normal distribution. MAGE: 0.55.
        std: its standard deviation, above 0. MAGE: 0.25.
        low: the least. MAGE: 0.5.
        high: the greatest, above ``low``. MAGE: 1.

    Raises:
        ValueError: a deviation or bounds outside their ranges.
    """

    mean: float = 0.55
    std: float = 0.25
    low: float = 0.5
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.std > 0:
            raise ValueError(f"`std` must be above 0, but is {self.std}.")
        if not self.low < self.high:
            raise ValueError(f"`high` must be above `low`, {self.low}, but is {self.high}.")

    def __call__(self, share: Tensor) -> Tensor:
        normal = NormalDist(self.mean, self.std)
        low, high = normal.cdf(self.low), normal.cdf(self.high)
        quantile = torch.special.ndtri(low + share.double() * (high - low))
        return (self.mean + self.std * quantile).clamp(self.low, self.high)


@dataclass(frozen=True)
class CosineSpread(Spread):
    """The cosine of an even angle, ``cos(pi / 2 * u)``: mostly high (MaskGIT, Chang et al. 2022, section 3.3)."""

    def __call__(self, share: Tensor) -> Tensor:
        return torch.cos(math.pi / 2 * share.double())


Ratio = float | Schedule | Spread
"""A number in (0, 1), one that changes during a run, or one that is drawn for each sample."""
