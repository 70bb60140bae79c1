"""What was found in sounds: nothing odd is mended or left out without being counted and named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

NUM_NAMED = 5
"""Sounds of each oddity that are named; of the others the number is given."""


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
        num_other_files: in the folder, of kinds that are not audio.
        checked: whether all samples were looked at, or headers alone.
        rates: sounds by their own rate in Hz.
        odd: by what is odd, its first sounds; with the number of all of them.
    """

    kind: str = "sounds"
    sample_rate: int = 0
    num_sounds: int = 0
    seconds: float = 0.0
    num_classes: int = 0
    num_unlabelled: int = 0
    num_other_files: int = 0
    checked: bool = True
    rates: Counter[int] = field(default_factory=Counter)
    odd: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def note(self, what: str, name: str) -> None:
        """Counts a sound of which `what` (a key of `ODD`) is odd, and names it if it is among the first."""
        count, names = self.odd.get(what, (0, []))
        self.odd[what] = count + 1, names if count >= NUM_NAMED else [*names, name]

    def count(self, what: str) -> int:
        """How many sounds are odd in this way."""
        return self.odd.get(what, (0, []))[0]

    def named(self, what: str) -> str:
        """Those sounds in words."""
        count, names = self.odd.get(what, (0, []))
        return ", ".join(names) + (f" and {count - len(names):,} more" if count > len(names) else "")

    def __str__(self) -> str:
        classes = f", {self.num_classes:,} class{'es' * (self.num_classes != 1)}" if self.num_classes else ""
        told = f"{self.num_sounds:,} {self.kind}: {_duration(self.seconds)} at {self.sample_rate:,} Hz{classes}."
        odd = [f"{self.count(what):,} {text}: {self.named(what)}" for what, text in ODD.items() if self.count(what)]
        others = {rate: count for rate, count in self.rates.items() if rate != self.sample_rate}
        if others:
            rates = ", ".join(f"{count:,} of {rate:,} Hz" for rate, count in sorted(others.items()))
            odd.append(f"resampled: {rates}")
        if self.num_classes and self.num_unlabelled:
            odd.append(f"{self.num_unlabelled:,} without a class")
        if self.num_classes == 1:
            odd.append("all labels are of one class, which tells nothing; read as unlabelled")
        if self.num_other_files:
            odd.append(f"{self.num_other_files:,} files of other kinds are ignored")
        if not self.checked:
            odd.append("too much to be looked at in full; damage inside of files is told when it is met")
        return told + "".join(f"\n  {line}." for line in odd)


ODD = {
    "unreadable": "cannot be used and are left out",
    "short": "shorter than `min_seconds` and left out",
    "cut": "end too early, and are used as far as they go",
    "odd": "have samples that are not finite, which became 0",
    "silent": "are silent, and are used",
    "clipped": "are clipped, and are used",
    "channels": "of more than 2 channels, which are averaged",
}
"""What can be odd about a sound, in words."""


def _duration(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"
