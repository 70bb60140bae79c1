"""Classes of sounds: one word or number each, as a source writes it; what is several labels in one is refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from unmask.data import Findings, label_of

SEPARATORS = ",;|"
"""What several labels in one cell are separated by."""
WHOLE = "labels hold a comma, semicolon or bar, and each is a class as a whole"


def one_label(value: Any, source: str) -> str | None:
    """The label that ``value`` is; None: there is none.

    Args:
        value: a word, a number, None or NaN.
        source: what holds it, in a message.

    Raises:
        ValueError: a list or anything else that is no single label.
    """
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    if value is not None and not isinstance(value, str | int | float):
        kind = type(value).__name__
        raise ValueError(f"{source} must hold one label for each sound, but holds a {kind} such as {value!r:.60}.")
    return label_of(value)


def ordered(words: Iterable[str]) -> list[str]:
    """Classes in the order of their ids: whole numbers by value, then words by their letters."""
    return sorted(set(words), key=lambda word: (len(word), word) if word.isdigit() else (0, word))


def check_single(words: Collection[str], source: str, findings: Findings) -> None:
    """Refuses words that are made of each other's parts, such as ``dog,loud`` and ``rain,loud``: several labels in one.

    A name that merely has a comma in it, such as ``Fly, housefly``, is a class, and told.

    Args:
        words: all labels, each once.
        source: what holds them, in a message.
        findings: is told of names with a separator in them.

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
                f"{source} must hold one label for each sound, but holds several in one, such as {word!r} and "
                f"{other!r}; keep one of them, or join them by a sign of another kind."
            )
        findings.note(WHOLE, word)
