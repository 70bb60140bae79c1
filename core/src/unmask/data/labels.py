"""Labels as they stand in files: an empty one is none, numbers keep their values, several in one are refused."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from unmask.data.findings import Findings

IGNORED = -100
"""Stands for a class that is not known; losses and scores leave it out."""
SEPARATORS = ",;|"
"""What several labels in one cell are separated by."""
WHOLE = "labels hold a comma, semicolon or bar, and each is a class as a whole"


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


def one_label(value: Any, holder: str, item: str = "item") -> str | None:
    """The label that ``value`` is; None: there is none.

    Args:
        value: a word, a number, None or NaN.
        holder: what holds it, in a message.
        item: what has a label, in a message.

    Raises:
        ValueError: a list or anything else that is no single label.
    """
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    if value is not None and not isinstance(value, str | int | float):
        kind = type(value).__name__
        raise ValueError(f"{holder} must hold one label for each {item}, but holds a {kind} such as {value!r:.60}.")
    return label_of(value)


def ordered(words: Iterable[str]) -> list[str]:
    """Classes in the order of their ids: whole numbers by value, then words by their letters."""
    return sorted(set(words), key=lambda word: (len(word), word) if word.isdigit() else (0, word))


def check_single(words: Collection[str], holder: str, findings: Findings, item: str = "item") -> None:
    """Refuses words that are made of each other's parts, such as ``dog,loud`` and ``rain,loud``: several labels in one.

    A name that merely has a comma in it, such as ``Fly, housefly``, is a class, and told.

    Args:
        words: all labels, each once.
        holder: what holds them, in a message.
        findings: is told of names with a separator in them.
        item: what has a label, in a message.

    Raises:
        ValueError: two labels share a part.
    """
    marks = {word: mark for word in words if (mark := next((one for one in SEPARATORS if one in word), None))}
    parts = {word: [part.strip() for part in word.split(marks[word])] if word in marks else [word] for word in words}
    owners: dict[str, list[str]] = defaultdict(list)
    for word in words:
        for part in parts[word]:
            owners[part].append(word)
    for word in marks:
        other = next((one for part in parts[word] if part for one in owners[part] if one != word), None)
        if other is not None:
            raise ValueError(
                f"{holder} must hold one label for each {item}, but holds several in one, such as {word!r} and "
                f"{other!r}; keep one of them, or join them by a sign of another kind."
            )
        findings.note(WHOLE, word)
