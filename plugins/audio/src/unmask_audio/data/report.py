"""What was found in sounds: nothing odd is mended or left out without being counted and named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from unmask.data import Findings

UNREADABLE = "cannot be used and are left out"
SHORT = "shorter than `min_seconds` and left out"
CUT = "end too early, and are used as far as they go"
SILENT = "are silent, and are used"
CLIPPED = "are clipped, and are used"
LOUD = "go far beyond [-1, 1], as whole numbers do, and are used as they are"
CHANNELS = "of more than 2 channels, which are averaged"
UNSEEN = "sounds to validate on are of classes that none to train on is of"
UNPROBED = "parts of the data have no sound with a class, so that nothing can be probed"
"""What can be odd about sounds, in words; and `FILLED`."""


@dataclass
class Report:
    """Counts of one reading.

    Args:
        kind: what the sounds are.
        sample_rate: at which they are used, in Hz.
        num_sounds: that are used.
        seconds: of them.
        num_classes: of labels.
        num_unlabelled: sounds without a class.
        checked: whether all samples were looked at, or headers alone.
        rates: sounds by their own rate in Hz.
        findings: what is odd.
    """

    kind: str = "sounds"
    sample_rate: int = 0
    num_sounds: int = 0
    seconds: float = 0.0
    num_classes: int = 0
    num_unlabelled: int = 0
    checked: bool = True
    rates: Counter[int] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    def __str__(self) -> str:
        classes = f", {self.num_classes:,} class{'es' * (self.num_classes != 1)}" if self.num_classes else ""
        told = f"{self.num_sounds:,} {self.kind}: {_duration(self.seconds)} at {self.sample_rate:,} Hz{classes}."
        odd = list(self.findings.lines())
        others = {rate: count for rate, count in self.rates.items() if rate != self.sample_rate}
        if others:
            rates = ", ".join(f"{count:,} of {rate:,} Hz" for rate, count in sorted(others.items()))
            odd.append(f"resampled: {rates}.")
        if self.num_classes and self.num_unlabelled:
            odd.append(f"{self.num_unlabelled:,} without a class.")
        if self.num_classes == 1:
            odd.append("all labels are of one class, which tells nothing; read as unlabelled.")
        if not self.checked:
            odd.append("too much to be looked at in full; damage inside of files is told when it is met.")
        return told + "".join(f"\n  {line}" for line in odd)


def _duration(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"
