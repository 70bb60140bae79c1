"""Where rows have their text and their label; `unmask.data.fields` says how columns inside of others are named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from unmask.data import Fields, Findings, column_of, columns_in, flattened

Row = tuple[int, Fields]
"""A row behind its number in the file, from 1; rows that are left out have a number, too."""

AHEAD = 100
"""Rows that are looked at to learn which fields there are, at most."""


class Columns(NamedTuple):
    """Where a row has its text and its label.

    Args:
        text: name of the column, dotted where it is inside of others.
        label: likewise; None: rows have no label.
        many: whether there is an array on the way to the text: then each of its objects is a document.
        name: likewise, of what its documents are called; None: they are called by their file and row.
    """

    text: str
    label: str | None = None
    many: bool = False
    name: str | None = None

    @classmethod
    def of(
        cls,
        names: Mapping[str, bool],
        text: str | None,
        label: str | None,
        findings: Findings,
        where: str,
        option: str = "labels",
        name: str | None = None,
    ) -> Columns:
        """The columns that `text_column` and ``option`` name.

        Args:
            names: of all columns, and whether there is an array on the way to each.
            text: see `column_of`.
            label: likewise; None: rows have no label.
            findings: is told of columns that are found inside of objects.
            where: the file, in messages.
            option: that names the label, in messages.
            name: see `column_of`; None: documents have no names of their own.

        Raises:
            ValueError: there is none such, or several.
        """
        found = column_of(names, "text_column", text, "text", findings=findings, where=where)
        other = None if label is None else column_of(names, option, label, findings=findings, where=where)
        called = None if name is None else column_of(names, "name_column", name, findings=findings, where=where)
        return cls(found, other, names[found], called)

    def held(self, tops: Iterable[str]) -> list[str]:
        """Those of the outermost columns that these are, or are inside of."""
        wanted = [f"{name}." for name in (self.text, self.label, self.name) if name is not None]
        return [top for top in tops if any(name.startswith(f"{top}.") for name in wanted)]

    def flat(self, row: Fields) -> list[Fields]:
        """The row with these columns by their dotted names; several, one for each object of an array on the way."""
        if all(name is None or "." not in name or name in row for name in (self.text, self.label, self.name)):
            return [row]
        return flattened(row, self.text)


def looked_at(
    rows: Iterator[Row], text: str | None, label: str | None, findings: Findings, where: str, name: str | None = None
) -> Iterator[tuple[Columns, Row]]:
    """Rows behind the columns that `text_column`, `labels` and `name_column` name; arguments as in `Columns.of`.

    Raises:
        ValueError: none of the first rows has such a column.
    """
    first: list[Row] = []
    names: dict[str, bool] = {}
    for row in rows:
        first.append(row)
        names |= dict(columns_in(row[1]))
        if len(first) == AHEAD or {text or "text", label, name} - {None} <= names.keys():
            break
    if first:
        columns = Columns.of(names, text, label, findings, where, name=name)
        for row in chain(first, rows):
            yield columns, row
