"""What was found in point clouds: nothing odd is mended or left out without being counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from unmask.data import Findings

UNREADABLE = "cannot be used and are left out"
HOLED = "clouds have points that are not finite, which are left out"
THINNED = "clouds have more points than `stored_points`, of which as many are kept"
SMALL = "clouds have fewer points than `num_points`, and are filled up with padding"
REPEATED = "clouds are half or more of points that are there twice"
BESIDE = "files lie beside the folders, which are therefore no classes"
SEEN = "files to validate on are also among those to train on"
UNSEEN = "clouds to validate on are of classes that none to train on is of"
UNPROBED = "parts of the data have no cloud with a class, so that nothing can be probed"
PARTLESS = "clouds have no classes of points, so those of the others are left out"
"""What can be odd about clouds, in words."""


@dataclass
class Report:
    """Counts of one reading.

    Args:
        kind: what the clouds are.
        num_clouds: that are used.
        num_points: of them, kept.
        num_classes: of labels.
        num_unlabelled: clouds without a class.
        findings: what is odd.
    """

    kind: str = "clouds"
    num_clouds: int = 0
    num_points: int = 0
    num_classes: int = 0
    num_unlabelled: int = 0
    findings: Findings = field(default_factory=Findings)

    @property
    def padded(self) -> bool:
        """Whether clouds are filled up to the size of a sample."""
        return self.findings.count(SMALL) > 0

    def __str__(self) -> str:
        classes = f", {self.num_classes:,} class{'es' * (self.num_classes != 1)}" if self.num_classes else ""
        told = f"{self.num_clouds:,} {self.kind}: {self.num_points:,} points{classes}."
        odd = list(self.findings.lines())
        if self.num_classes and self.num_unlabelled:
            odd.append(f"{self.num_unlabelled:,} without a class.")
        if self.num_classes == 1:
            odd.append("all labels are of one class, which tells nothing; read as unlabelled.")
        return told + "".join(f"\n  {line}" for line in odd)
