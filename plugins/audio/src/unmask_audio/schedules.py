"""Square-root schedule: quick at first, slower later (competence, Platanios et al. 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unmask import Progress, Schedule
from unmask.api import inside


@dataclass(frozen=True)
class SquareRoot(Schedule):
    """``min(1, sqrt(s / S (1 - start^2) + start^2))`` at step s of S: from ``start`` to 1.

    Args:
        start: value at the beginning, in [0, 1]. A-JEPA (section 3): 0.01.
        over: steps until 1 is reached; None: those of the run.

    Raises:
        ValueError: a number outside its range.
    """

    start: float = 0.01
    over: int | None = None

    def __post_init__(self) -> None:
        inside("[0, 1]", start=self.start)
        if self.over is not None and self.over < 1:
            raise ValueError(f"`over` must be at least 1 step, but is {self.over}.")

    def __call__(self, progress: Progress) -> float:
        over = self.over or progress.total_steps
        done = min(progress.step / over, 1.0) if over else 0.0
        return math.sqrt(done * (1 - self.start**2) + self.start**2)
