"""Labels as they stand in files: an empty one is none, and classes that are numbers keep their values."""

from __future__ import annotations

import math
from collections.abc import Sequence


def label_of(cell: object) -> str | None:
    """The label in a cell of a table; None where it is empty or blank, which is no class of its own."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    return str(cell).strip() or None


def numbers_of(classes: Sequence[str]) -> list[float] | None:
    """What classes are worth where every one is written as a finite number; None where one is not, or none is given."""
    try:
        numbers = [float(word) for word in classes]
    except ValueError:
        return None
    return numbers if numbers and all(map(math.isfinite, numbers)) else None
