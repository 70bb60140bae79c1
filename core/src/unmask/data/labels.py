"""Labels as they stand in files: an empty one is none, numbers keep their values, several in one only where asked for.

===============  ===================================  ==========================================================
kind             a cell, or several columns           label of an item
===============  ===================================  ==========================================================
``class``        a word                               the word
``multi-label``  words with a sign between them, a    int64 ``[C]``, 1 for classes that are there; columns that are
                 list, or columns of 0 and 1          empty are not known
``number``       a number                             a float
``numbers``      numbers with a sign between them, a  float64 ``[C]``, NaN where one is empty
                 list, or columns of a number each
===============  ===================================  ==========================================================
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.data.findings import Findings
from unmask.support.nearest import nearest, quoted

MOST_CLASSES = 100_000
"""Class numbers in files are below this one: memory grows with the greatest."""
CLASS, MULTI_LABEL, NUMBER, NUMBERS = LABEL_KINDS = ("class", "multi-label", "number", "numbers")
"""What labels are taken for."""
YES, NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
Label = str | int | float | np.ndarray

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
        several = "; for several, set `label_kind` to 'multi-label'" if isinstance(value, list | tuple) else ""
        raise ValueError(
            f"{holder} must hold one label for each {item}, but holds a {kind} such as {value!r:.60}{several}."
        )
    return label_of(value)


def ordered(words: Iterable[str]) -> list[str]:
    """Classes in the order of their ids: numbers by value, then words by their letters."""

    def place(word: str) -> tuple[bool, float, str]:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        return (False, value, word) if math.isfinite(value) else (True, 0.0, word)

    return sorted(set(words), key=place)


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
                f"{other!r}; keep one of them, or set `label_kind` to 'multi-label'."
            )
        findings.note(WHOLE, word)


def check_label_options(kind: str, column: str | Sequence[str] = "", separator: str | None = None) -> None:
    """Refuses options of labels that do not go together.

    Args:
        kind: of labels, see above.
        column: of labels, or several columns.
        separator: between several labels in a cell; None: the usual ones.

    Raises:
        ValueError: another kind, or a separator or several columns of a kind that is one label.
    """
    if kind not in LABEL_KINDS:
        near = quoted(nearest(kind, LABEL_KINDS) or LABEL_KINDS)
        raise ValueError(f"`label_kind` must be one of {quoted(LABEL_KINDS)}, but is {kind!r}; nearest: {near}.")
    if kind in (MULTI_LABEL, NUMBERS):
        return
    if separator is not None:
        raise ValueError(f"`label_separator` must be left out for {kind!r}, but is {separator!r}.")
    if not isinstance(column, str):
        raise ValueError(
            f"`label_column` must be one column where `label_kind` is {kind!r}, but is {list(column)}; nearest: "
            "'multi-label' or 'numbers'."
        )


def labels_of(
    cells: Sequence[Any],
    kind: str,
    holder: str,
    findings: Findings,
    item: str = "item",
    columns: Sequence[str] = (),
    separator: str | None = None,
) -> tuple[list[Label | None], list[str]]:
    """The labels of items, and the names of classes, which are none for numbers.

    Args:
        cells: of each item: a word, a number, a list of them, or None; where there are ``columns``, a list of a cell
            for each.
        kind: see above.
        holder: what holds the labels, in a message.
        findings: is told of classes with a separator in their name.
        item: what has a label, in a message.
        columns: the columns that labels are spread over; empty: they stand in one.
        separator: between several labels in a cell; None: the first of `SEPARATORS` that any cell has.

    Raises:
        ValueError: another kind; a cell that is no label of that kind; rows of numbers of several lengths.
    """
    check_label_options(kind)
    if kind == CLASS:
        words = [one_label(cell, holder, item) for cell in cells]
        classes = ordered(word for word in words if word is not None)
        check_single(classes, holder, findings, item)
        return list(words), classes
    if kind == NUMBER:
        return [_number(cell, holder, item) for cell in cells], []
    if columns:
        read = _yes_or_no if kind == MULTI_LABEL else _number
        several = [None if cell is None else [read(one, holder, item) for one in cell] for cell in cells]
        unknown, dtype = (IGNORED, np.int64) if kind == MULTI_LABEL else (math.nan, np.float64)
        arrays = [
            None
            if row is None or all(one is None for one in row)
            else np.array([unknown if one is None else one for one in row], dtype=dtype)
            for row in several
        ]
        return list(arrays), list(columns) if kind == MULTI_LABEL else []
    parts = _parts(cells, separator)
    if kind == MULTI_LABEL:
        classes = ordered(word for row in parts if row for one in row if (word := label_of(one)) is not None)
        places = {word: place for place, word in enumerate(classes)}
        return [_several(row, places) for row in parts], classes
    lengths = sorted({len(row) for row in parts if row is not None})
    if len(lengths) > 1:
        raise ValueError(
            f"{holder} must hold as many numbers for each {item}, but holds {lengths[0]} and {lengths[-1]}."
        )
    rows = [None if row is None else [_number(one, holder, item) for one in row] for row in parts]
    return [None if row is None else np.array(row, dtype=np.float64) for row in rows], []


def unknown_like(label: Any) -> Any:
    """What stands for an unknown label beside ``label`` of a sample: `IGNORED` for classes, NaN for numbers."""
    if isinstance(label, Tensor):
        return torch.full_like(label, math.nan if label.is_floating_point() else IGNORED)
    if isinstance(label, np.ndarray):
        return np.full_like(label, math.nan if label.dtype.kind == "f" else IGNORED)
    return math.nan if isinstance(label, float) else IGNORED


def _number(cell: Any, holder: str, item: str) -> float | None:
    word = one_label(cell, holder, item)
    if word is None:
        return None
    try:
        number = float(word)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(
            f"{holder} must hold a number for each {item}, but holds {word!r}; nearest `label_kind`: 'class'."
        )
    return number


def _yes_or_no(cell: Any, holder: str, item: str) -> int | None:
    word = one_label(cell, holder, item)
    if word is None:
        return None
    if word.lower() not in YES + NO:
        raise ValueError(f"{holder} must hold 0 or 1 in each column for each {item}, but holds {word!r}.")
    return int(word.lower() in YES)


def _parts(cells: Sequence[Any], separator: str | None) -> list[list[Any] | None]:
    """Lists of labels, from lists or from words with a separator between them; None: no label."""
    words = [cell for cell in cells if isinstance(cell, str)]
    if separator is None:
        separator = next((mark for mark in SEPARATORS if any(mark in word for word in words)), SEPARATORS[0])
    parts: list[list[Any] | None] = []
    for cell in cells:
        if isinstance(cell, list | tuple | np.ndarray):
            parts.append(list(cell) or None)
        else:
            word = label_of(cell)
            own = None if word is None else [one.strip() for one in word.split(separator)]
            parts.append(own)
    return parts


def _several(row: list[Any] | None, places: dict[str, int]) -> np.ndarray | None:
    words = {word for one in row or () if (word := label_of(one)) is not None}
    if not words:
        return None
    label = np.zeros(len(places), dtype=np.int64)
    label[[places[word] for word in words]] = 1
    return label
