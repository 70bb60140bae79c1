"""What was found in a source: how much there is of it, its labels, and what is odd, told in a few lines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from unmask.data.findings import NUM_NAMED, Findings

UNREADABLE = "cannot be used and are left out"
"""What findings say of items that are `Unreadable`."""


@dataclass
class Report(ABC):
    """Counts of one reading. A subclass says how much it is (`amount`), and has lines of its own.

    Args:
        kind: what the items are.
        num_items: that are used.
        num_classes: of labels.
        num_unlabelled: items without a class.
        classes: their names; the first are told.
        about: a sentence on the labels.
        findings: what is odd.
    """

    kind: str = "items"
    num_items: int = 0
    num_classes: int = 0
    num_unlabelled: int = 0
    classes: Sequence[str] = ()
    about: str = ""
    findings: Findings = field(default_factory=Findings)

    @abstractmethod
    def amount(self) -> str:
        """How much all items are together, such as ``2.5 hours``."""

    def lines(self) -> Iterator[str]:
        """A sentence for each kind of what is odd."""
        yield from self.findings.lines()
        yield from self.label_lines()

    def label_lines(self) -> Iterator[str]:
        """The classes, and what is odd about labels."""
        if self.classes:
            more = f" and {len(self.classes) - NUM_NAMED:,} more" if len(self.classes) > NUM_NAMED else ""
            yield f"classes: {', '.join(self.classes[:NUM_NAMED])}{more}."
        if self.about:
            yield self.about
        if 0 < self.num_unlabelled < self.num_items:
            yield f"{self.num_unlabelled:,} without a {'class' if self.num_classes else 'label'}."
        if self.num_classes == 1:
            yield "all labels are of one class, which tells nothing; read as unlabelled."

    def __str__(self) -> str:
        classes = f", {self.num_classes:,} class{'es' * (self.num_classes != 1)}" if self.num_classes else ""
        told = f"{self.num_items:,} {self.kind}: {self.amount()}{classes}."
        return told + "".join(f"\n  {line}" for line in self.lines())
