"""The labels of a column of a data set: classes, numbers, words, or lists of them, as numbers that tasks take.

======================================  ==============================  ==============================
a cell holds                            label                           for
======================================  ==============================  ==============================
a class, a whole number or a truth      int64                           classification
a word                                  int64, words being sorted       classification
a real number                           float32                         regression
a list of classes, or of words          int64 ``[C]``, 0 or 1 of each   multi-label
a list of whole numbers                 the same; where all have one    multi-label
                                        length and hold 0 and 1 alone,
                                        they are that already
a list of real numbers, of one length   float32 ``[C]``                 regression
nothing, or a class of -1               `IGNORED`, or NaN               left out
======================================  ==============================  ==============================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from unmask.api import IGNORED
from unmask.data import Findings, Labels, label_of

MOST_CLASSES = 2**15


def read_labels(parts: Sequence[Any], column: str, findings: Findings) -> Labels | None:
    """The labels of the rows of ``parts``, those of several numbers as arrays; None where a part has none.

    Args:
        parts: data sets of the `datasets` library, with the same features.
        column: one of theirs.
        findings: is told of rows without a label.

    Raises:
        ValueError: cells that hold something else, or lists that cannot become numbers.
    """
    cells = [part.select_columns([column])[:][column] for part in parts]
    names: list[str] | None = getattr(_innermost(parts[0].features[column]), "names", None)
    if names is not None:
        cells = [[_none_of(cell) for cell in own] for own in cells]
    elif any(isinstance(leaf, str) for own in cells for leaf in _leaves(own)):
        words = {label_of(leaf) for own in cells for leaf in _leaves(own)} - {None}
        names = sorted(map(str, words))
        ids = {word: number for number, word in enumerate(names)}
        cells = [[_numbered(cell, ids) for cell in own] for own in cells]
    unknown = [sum(cell is None for cell in own) for own in cells]
    findings.note("rows have no label", count=sum(unknown))
    if any(count == len(own) for count, own in zip(unknown, cells, strict=True)):
        return None
    kinds = {type(leaf) for own in cells for leaf in _leaves(own) if leaf is not None}
    if not kinds <= {bool, int, float}:
        raise ValueError(
            f"`label_column` must name a column of classes, numbers, words, or lists of them, but {column!r} holds "
            f"{', '.join(sorted(kind.__name__ for kind in kinds))}."
        )
    real = float in kinds
    if not any(isinstance(cell, list) for own in cells for cell in own):
        missing, kind = (float("nan"), float) if real else (IGNORED, int)
        values = [[missing if cell is None else kind(cell) for cell in own] for own in cells]
        return values, names or [], _single(values, real, names)
    lengths = {len(cell) for own in cells for cell in own if cell is not None}
    if real:
        if len(lengths) > 1:
            raise ValueError(
                f"Lists of real numbers in `label_column` must have one length, but those in {column!r} have "
                f"{min(lengths)} to {max(lengths)}."
            )
        return _vectors(cells, lengths.pop())
    return _several(cells, lengths, names, column)


def _vectors(cells: list[list[Any]], length: int) -> Labels:
    rows = [[[float("nan")] * length if cell is None else cell for cell in own] for own in cells]
    values = [list(np.array(own, dtype=np.float32).reshape(-1, length)) for own in rows]
    return values, [], f"Labels are {length:,} real numbers each."


def _several(cells: list[list[Any]], lengths: set[int], names: list[str] | None, column: str) -> Labels:
    """Lists of classes as 0 and 1 for each class."""
    leaves = {int(leaf) for own in cells for leaf in _leaves(own) if leaf is not None}
    if names is None and len(lengths) == 1 and leaves <= {0, 1}:
        rows = [[[IGNORED] * min(lengths) if cell is None else cell for cell in own] for own in cells]
        values = [list(np.array(own, dtype=np.int8).reshape(-1, min(lengths))) for own in rows]
        return values, [], f"Labels are {min(lengths):,} numbers each, 0 or 1: several classes at once."
    count = max(leaves, default=-1) + 1 if names is None else len(names)
    most = MOST_CLASSES if names is None else count
    if not 0 < count <= MOST_CLASSES or min(leaves, default=0) < 0 or max(leaves, default=0) >= most:
        raise ValueError(
            f"Lists of class numbers in `label_column` must hold numbers in [0, {most - 1}], but those in "
            f"{column!r} hold {f'{min(leaves)} to {max(leaves)}' if leaves else 'none'}."
        )
    values = []
    for own in cells:
        value = np.zeros((len(own), count), dtype=np.int8)
        for row, cell in enumerate(own):
            if cell is None:
                value[row] = IGNORED
            else:
                value[row, [leaf for leaf in cell if leaf is not None]] = 1
        values.append(list(value))
    return values, names or [], f"Labels are lists of {count:,} classes: several classes at once."


def _single(values: list[list[Any]], real: bool, names: list[str] | None) -> str:
    if real:
        return "Labels are real numbers."
    if names is not None:
        return ""  # the report names them
    known = {value for own in values for value in own} - {IGNORED}
    return f"Labels are {len(known):,} whole numbers."


def _innermost(feature: Any) -> Any:
    """The feature of a list's items, or the feature itself."""
    if isinstance(feature, list):
        return feature[0]
    return getattr(feature, "feature", feature)


def _leaves(cells: list[Any]) -> Iterator[Any]:
    for cell in cells:
        if isinstance(cell, list):
            yield from cell
        else:
            yield cell


def _none_of(cell: Any) -> Any:
    return None if isinstance(cell, int) and cell < 0 else cell


def _numbered(cell: Any, ids: dict[str, int]) -> Any:
    """Words as numbers."""
    if isinstance(cell, list):
        return [ids[word] for leaf in cell if (word := label_of(leaf)) is not None]
    word = label_of(cell)
    return None if word is None else ids[word]
