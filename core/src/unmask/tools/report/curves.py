"""``metrics.csv`` as curves: read however a run ended, smoothed, and thinned with every spike kept."""

from __future__ import annotations

import csv
import io
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NOT_CURVES = ("step", "epoch")
MAX_POINTS = 1000
MAX_DIGITS = 15
"""Of a step; a longer one is damage."""
SMOOTHED_FROM = 40
"""Curves of so many points are smoothed."""
LARGEST = 1e100
"""What is beyond counts as infinite: no picture of a loss needs it, and differences stay finite."""


@dataclass(frozen=True)
class Curve:
    """One column of one run.

    Args:
        steps: in ascending order.
        values: as many; not-a-number where the value was not finite.
    """

    steps: Sequence[int]
    values: Sequence[float]

    @property
    def finite(self) -> list[tuple[int, float]]:
        """Steps and values that are finite."""
        return [(step, value) for step, value in zip(self.steps, self.values, strict=True) if math.isfinite(value)]

    @property
    def missing(self) -> list[int]:
        """Steps whose value is not finite."""
        return [step for step, value in zip(self.steps, self.values, strict=True) if not math.isfinite(value)]

    def kept(self, most: int = MAX_POINTS) -> list[int]:
        """Indices to draw, at most ``most``: the ends, and least, greatest and a missing one of equal parts."""
        n = len(self.steps)
        if n <= most:
            return list(range(n))
        chosen = {0, n - 1}
        num_parts = (most - 2) // 3
        for part in range(num_parts):
            places = range(part * n // num_parts, (part + 1) * n // num_parts)
            finite = [i for i in places if math.isfinite(self.values[i])]
            if finite:
                chosen |= {min(finite, key=self.values.__getitem__), max(finite, key=self.values.__getitem__)}
            if len(finite) < len(places):
                chosen.add(next(i for i in places if not math.isfinite(self.values[i])))
        return sorted(chosen)

    def smooth(self) -> list[float] | None:
        """Means over a window of steps around each point, a twentieth of the curve long.

        At its beginning, where curves fall, the window is shorter and still as long before a point as
        behind it, so the mean is not shifted. None for a curve of fewer than `SMOOTHED_FROM` points.
        """
        n = len(self.values)
        if n < SMOOTHED_FROM:
            return None
        sums, counts = [0.0], [0]
        for value in self.values:
            finite = math.isfinite(value)
            sums.append(sums[-1] + (value if finite else 0))
            counts.append(counts[-1] + finite)
        half = (self.steps[-1] - self.steps[0]) / 40
        smoothed = []
        for step, value in zip(self.steps, self.values, strict=True):
            reach = min(half, step - self.steps[0])
            first, behind = bisect_left(self.steps, step - reach), bisect_right(self.steps, step + reach)
            mean = (sums[behind] - sums[first]) / max(counts[behind] - counts[first], 1)
            smoothed.append(mean if math.isfinite(value) else math.nan)
        return smoothed


def read_curves(path: Path) -> dict[str, Curve]:
    """The columns of a ``metrics.csv`` that hold numbers, in its order; without a last row that was cut off.

    Raises:
        OSError: the file cannot be read.
    """
    text = path.read_bytes().decode("utf-8", errors="replace").replace("\0", "")
    whole = text[: text.rfind("\n") + 1]  # a killed run may have left half a row
    rows = csv.reader(io.StringIO(whole, newline=""))
    header = next(rows, [])
    found: dict[str, dict[int, float]] = {name: {} for name in header if name and name not in NOT_CURVES}
    if "step" not in header:
        return {}
    at = header.index("step")
    columns = [(i, found[name]) for i, name in enumerate(header) if name in found]
    for row in rows:
        if len(row) != len(header) or not (row[at].isdecimal() and len(row[at]) <= MAX_DIGITS):
            continue
        step = int(row[at])
        for i, column in columns:
            if row[i]:
                value = _number(row[i])
                if value is not None:
                    column[step] = value
    return {
        name: Curve(*(list(part) for part in zip(*sorted(column.items()), strict=True)))
        for name, column in found.items()
        if column
    }


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < LARGEST else math.nan  # comparing with NaN is False as well
