"""Columns that hold kinds of things, as one column of 0 and 1 for each kind (one-hot)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from unmask.api import nearest, quoted
from unmask.data import Findings, label_of

Categories = str | list[str | int] | dict[str | int, list[str | int]] | None
"""One column or several, by name or number; or of each the kinds that it may have."""

Label = str | int | list[str | int] | None
"""One column or several, by name or number."""

MOST_KINDS = 1000
"""A column of more kinds is not made one-hot."""
ONE_HOT = "columns are kinds, one-hot"
NO_KIND = "columns of kinds have empty cells, which have 0 for every kind"


def asked(categories: Categories) -> dict[str, list[str] | None]:
    """Names of columns, and the kinds that each may have; None: those that there are."""
    if isinstance(categories, Mapping):
        return {str(column): [str(kind) for kind in kinds] for column, kinds in categories.items()}
    return dict.fromkeys(as_list(categories) or ())


def as_list(columns: Label) -> list[str] | None:
    """Columns as they are named; None: none is."""
    if columns is None:
        return None
    return [str(column) for column in columns] if isinstance(columns, list) else [str(columns)]


def check_columns(option: str, wanted: Iterable[str], there: Sequence[str], what: str) -> None:
    """Refuses columns that there are not.

    Raises:
        ValueError: names the nearest.
    """
    wrong = next((column for column in wanted if column not in there), None)
    if wrong is not None:
        near = quoted(nearest(wrong, there) or there[:5]) if there else "none"
        raise ValueError(f"`{option}` must name columns of {what}, but has {wrong!r}; nearest: {near}.")


def kinds_of_cells(
    columns: Sequence[Sequence[object]], name: str, kinds: list[str] | None, findings: Findings
) -> tuple[list[str], list[Tensor]]:
    """Names ``name=kind`` of K columns, and float32 ``[n, K]`` of each table's cells.

    Raises:
        ValueError: a kind that is not among ``kinds``, or too many of them.
    """
    cells = [label_of(cell) or "" for column in columns for cell in column]
    words, number = np.unique(np.array(cells, dtype=np.str_), return_inverse=True)
    lengths = [len(column) for column in columns]
    return _one_hot(words.tolist(), torch.from_numpy(number.astype(np.int64)), lengths, name, kinds, findings)


def kinds_of_numbers(
    columns: Sequence[Tensor], name: str, kinds: list[str] | None, findings: Findings
) -> tuple[list[str], list[Tensor]]:
    """As `kinds_of_cells`, of columns of numbers ``[n]``."""
    numbers, number = torch.cat([column.double() for column in columns]).unique(return_inverse=True)
    words = ["" if one != one else f"{one:.15g}" for one in numbers.tolist()]
    return _one_hot(words, number, [len(column) for column in columns], name, kinds, findings)


def in_order(words: Iterable[str]) -> list[str]:
    """Numbers by size, else by letters."""
    found = set(words)
    try:
        numbers = {word: float(word) for word in found}
    except ValueError:
        return sorted(found)
    if not all(map(isfinite, numbers.values())):
        return sorted(found)
    return sorted(found, key=lambda word: (numbers[word], word))


def _one_hot(
    words: list[str], number: Tensor, lengths: list[int], name: str, kinds: list[str] | None, findings: Findings
) -> tuple[list[str], list[Tensor]]:
    known = kinds or in_order(word for word in words if word)
    if not known:
        raise ValueError(f"`{name}` must hold at least one kind to be one-hot, but is empty.")
    if len(known) > MOST_KINDS:
        raise ValueError(f"`{name}` must have at most {MOST_KINDS:,} kinds to be one-hot, but has {len(known):,}.")
    wrong = next((word for word in words if word and word not in known), None)
    if wrong is not None:
        near = quoted(nearest(wrong, known) or known[:5])
        raise ValueError(
            f"Column `{name}` must hold kinds that are asked for, but holds {wrong!r:.60}; nearest: {near}."
        )
    place = torch.tensor([known.index(word) if word else -1 for word in words], dtype=torch.long)
    which = place[number]  # [n], -1 where there is none
    shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    findings.note(ONE_HOT, f"`{name}` ({len(known):,}: {shown})")
    if num_empty := int((which < 0).sum()):
        findings.note(NO_KIND, f"`{name}` ({num_empty:,})")
    hot = one_hot(which + 1, len(known) + 1)[:, 1:].float()
    return [f"{name}={kind}" for kind in known], [*hot.split(lengths)]
