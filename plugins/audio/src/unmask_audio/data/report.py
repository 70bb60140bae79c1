"""What was found in sounds: nothing odd is mended or left out without being counted and named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from unmask.data import Report

SHORT = "shorter than `min_seconds` and left out"
CUT = "end too early, and are used as far as they go"
SILENT = "are silent, and are used"
CLIPPED = "are clipped, and are used"
LOUD = "go far beyond [-1, 1], as whole numbers do, and are used as they are"
CHANNELS = "of more than 2 channels, which are averaged"
"""What can be odd about sounds, in words; and `FILLED`, `UNREADABLE`."""


@dataclass
class AudioReport(Report):
    """Counts of one reading.

    Args:
        sample_rate: at which sounds are used, in Hz.
        seconds: of them.
        checked: whether all samples were looked at, or headers alone.
        rates: sounds by their own rate in Hz.
        longer: sounds that are longer than a window.

    Further arguments are those of `Report`.
    """

    kind: str = "sounds"
    sample_rate: int = 0
    seconds: float = 0.0
    checked: bool = True
    rates: Counter[int] = field(default_factory=Counter)
    longer: int = 0

    def amount(self) -> str:
        return f"{_duration(self.seconds)} at {self.sample_rate:,} Hz"

    def lines(self) -> Iterator[str]:
        yield from self.findings.lines()
        others = {rate: count for rate, count in self.rates.items() if rate != self.sample_rate}
        if others:
            yield f"resampled: {', '.join(f'{count:,} of {rate:,} Hz' for rate, count in sorted(others.items()))}."
        if self.longer:
            yield f"longer than a window: {self.longer:,}, which give several samples each."
        yield from self.label_lines()
        if not self.checked:
            yield "too much to be looked at in full; damage inside of files is told when it is met."


def _duration(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"
