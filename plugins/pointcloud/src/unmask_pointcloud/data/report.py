"""What was found in point clouds: nothing odd is mended or left out without being counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from unmask.data import Report

HOLED = "clouds have points that are not finite, which are left out"
THINNED = "clouds have more points than `stored_points`, of which as many are kept"
SMALL = "clouds have fewer points than `num_points`, and are filled up with padding"
REPEATED = "clouds are half or more of points that are there twice"
PARTLESS = "clouds have no classes of points, so those of the others are left out"
"""What can be odd about clouds, in words; and `UNREADABLE`."""


@dataclass
class PointCloudReport(Report):
    """Counts of one reading.

    Args:
        num_points: of all clouds, kept.
        num_parts: classes of points that there are; 0: points have no class.

    Further arguments are those of `Report`.
    """

    num_points: int = 0
    num_parts: int = 0

    @property
    def padded(self) -> bool:
        """Whether clouds are filled up to the size of a sample."""
        return self.findings.count(SMALL) > 0

    def amount(self) -> str:
        return f"{self.num_points:,} points"

    def label_lines(self) -> Iterator[str]:
        if self.num_parts:
            yield f"each point has one of {self.num_parts:,} classes, which `unmask pointcloud-segment` learns to tell."
        yield from super().label_lines()
