"""Columns of tables and fields of JSON objects by name; ``meta.body.text`` is a field of a field of a field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from unmask.api import nearest, quoted
from unmask.data import Findings

Fields = dict[str, Any]
Row = tuple[int, Fields]
"""A row behind its number in the file, from 1; rows that are left out have a number, too."""

AHEAD = 100
"""Rows that are looked at to learn which fields there are, at most."""
INSIDE = "columns are found inside of objects"


class Columns(NamedTuple):
    """Where a row has its text and its label.

    Args:
        text: name of the column, dotted where it is inside of others.
        label: likewise; None: rows have no label.
        many: whether there is an array on the way to the text: then each of its objects is a document.
    """

    text: str
    label: str | None = None
    many: bool = False

    @classmethod
    def of(
        cls, names: Mapping[str, bool], text: str | None, label: str | None, findings: Findings, where: str
    ) -> Columns:
        """The columns that `text_column` and `labels` name.

        Args:
            names: of all columns, and whether there is an array on the way to each.
            text: see `column_of`.
            label: likewise; None: rows have no label.
            findings: is told of columns that are found inside of objects.
            where: the file, in messages.

        Raises:
            ValueError: there is none such, or several.
        """
        found = column_of(names, "text_column", text, findings=findings, where=where)
        other = None if label is None else column_of(names, "labels", label, findings=findings, where=where)
        return cls(found, other, names[found])

    def flat(self, row: Fields) -> list[Fields]:
        """The row with these columns by their dotted names; several, one for each object of an array on the way."""
        if all(name is None or "." not in name or name in row for name in (self.text, self.label)):
            return [row]
        return _flat(row, self.text)


def looked_at(
    rows: Iterator[Row], text: str | None, label: str | None, findings: Findings, where: str
) -> Iterator[tuple[Columns, Row]]:
    """Rows behind the columns that `text_column` and `labels` name; arguments as in `Columns.of`.

    Raises:
        ValueError: none of the first rows has such a column.
    """
    first: list[Row] = []
    names: dict[str, bool] = {}
    for row in rows:
        first.append(row)
        names |= dict(_names(row[1]))
        if len(first) == AHEAD or {text or "text", label} - {None} <= names.keys():
            break
    if first:
        columns = Columns.of(names, text, label, findings, where)
        for row in chain(first, rows):
            yield columns, row


def column_of(
    columns: Iterable[str],
    option: str,
    name: str | None,
    fallback: str = "text",
    findings: Findings | None = None,
    where: str = "the data",
) -> str:
    """The column called ``name``, else ``fallback``, else the only one there is; of those inside of objects, the one
    that ends so.

    Raises:
        ValueError: there is none such, or several.
    """
    columns = list(columns)
    wanted = name or (fallback if fallback in columns or len(columns) != 1 else columns[0])
    if wanted in columns:
        if findings is not None and name is None and "." in wanted:
            findings.note(INSIDE, f"{wanted} in {where}")
        return wanted
    inside = [column for column in columns if column.endswith(f".{wanted}")]
    if len(inside) > 1:
        raise ValueError(
            f"`{option}` must name one column of {where}, but {wanted!r} is there several times: {quoted(inside)}."
        )
    if not inside:
        near = quoted(nearest(wanted, columns) or columns)
        raise ValueError(f"`{option}` must name a column of the data, but is {wanted!r}; nearest: {near}.")
    if findings is not None:
        findings.note(INSIDE, f"{inside[0]} in {where}")
    return inside[0]


def _names(row: Fields, prefix: str = "", many: bool = False) -> Iterator[tuple[str, bool]]:
    """Dotted names of all values that are no objects and no arrays of them, and whether an array is on the way."""
    for key, value in row.items():
        listed = isinstance(value, list) and any(isinstance(inner, dict) for inner in value)
        inside = [inner for inner in value if isinstance(inner, dict)] if listed else [value]
        for inner in inside[:AHEAD]:
            if isinstance(inner, dict):
                yield from _names(inner, f"{prefix}{key}.", many or listed)
            else:
                yield f"{prefix}{key}", many


def _flat(row: Fields, column: str, prefix: str = "") -> list[Fields]:
    """A row by dotted names, once for each object of the arrays on the way to ``column``."""
    flat: list[Fields] = [{}]
    for key, value in row.items():
        name = prefix + key
        if isinstance(value, dict):
            below = _flat(value, column, f"{name}.")
        elif isinstance(value, list) and column.startswith(f"{name}."):
            below = [one for inner in value if isinstance(inner, dict) for one in _flat(inner, column, f"{name}.")]
        else:
            below = [{name: value}]
        flat = [one | more for one in flat for more in below]
    return flat
