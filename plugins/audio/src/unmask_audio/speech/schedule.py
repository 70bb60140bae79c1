"""Exponential schedule: multiplied by the same factor at every step (wav2vec 2.0, Baevski et al. 2020, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from unmask import Progress, Schedule
from unmask.api import inside


@dataclass(frozen=True)
class Exponential(Schedule):
    """``max(start * factor ** s, end)`` at step s.

    Args:
        start: value at the beginning, above 0.
        end: least value, in (0, start].
        factor: of a step, in (0, 1).

    Raises:
        ValueError: a number outside its range.
    """

    start: float
    end: float
    factor: float

    def __post_init__(self) -> None:
        if self.start <= 0:
            raise ValueError(f"`start` must be above 0, but is {self.start}.")
        if not 0 < self.end <= self.start:
            raise ValueError(f"`end` must be in (0, `start` {self.start}], but is {self.end}.")
        inside("(0, 1)", factor=self.factor)

    def __call__(self, progress: Progress) -> float:
        return max(self.start * self.factor**progress.step, self.end)
