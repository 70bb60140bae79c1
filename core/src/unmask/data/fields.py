"""Columns of tables and fields of records by name, those inside of others too: ``meta.body.text`` is of three levels.

A record is a dict, as JSON, Parquet and the library `datasets` give them. A name that is no column of its own is that
of the one column inside of others that ends so, which is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from unmask.data.findings import Findings
from unmask.support.nearest import nearest, quoted

Fields = dict[str, Any]

AHEAD = 100
"""Objects of an array that are looked at to learn which fields they have, at most."""
INSIDE = "columns are found inside of objects"


def column_of(
    columns: Iterable[str],
    option: str,
    name: str | None,
    *fallbacks: str,
    findings: Findings | None = None,
    where: str = "the data",
) -> str:
    """The column that ``option`` names, by its name or by the end of it; without a name the first of ``fallbacks`` that
    there is, or the only column.

    Args:
        columns: all there are, dotted where they are inside of others.
        option: in messages.
        name: what was given; None: nothing.
        fallbacks: usual names, the likeliest first.
        findings: is told of a column inside of others that was not named in full.
        where: what has the columns, in messages.

    Raises:
        ValueError: there is none such, or several; names the nearest.
    """
    columns = list(columns)
    usual = next((one for one in fallbacks if one in columns), None)
    wanted = name or usual or (columns[0] if len(columns) == 1 else fallbacks[0] if fallbacks else "")
    inside = [wanted] if wanted in columns else [column for column in columns if column.endswith(f".{wanted}")]
    if len(inside) > 1:
        raise ValueError(
            f"`{option}` must name one column of {where}, but {wanted!r} is there several times: {quoted(inside)}."
        )
    if not inside:
        near = quoted(nearest(wanted, columns) or columns)
        raise ValueError(f"`{option}` must name a column of {where}, but is {wanted!r}; nearest: {near}.")
    if findings is not None and name != inside[0] and "." in inside[0]:
        findings.note(INSIDE, f"{inside[0]} in {where}")
    return inside[0]


def columns_in(record: Fields, before: str = "", many: bool = False) -> Iterator[tuple[str, bool]]:
    """Dotted names of all values that are no objects and no arrays of them, and whether an array is on the way."""
    for key, value in record.items():
        listed = isinstance(value, list) and any(isinstance(inner, dict) for inner in value)
        inside = [inner for inner in value if isinstance(inner, dict)] if listed else [value]
        for inner in inside[:AHEAD]:
            if isinstance(inner, dict):
                yield from columns_in(inner, f"{before}{key}.", many or listed)
            else:
                yield f"{before}{key}", many


def flattened(record: Fields, column: str = "", before: str = "") -> list[Fields]:
    """A record by dotted names, once for each object of the arrays on the way to ``column``; others are values."""
    flat: list[Fields] = [{}]
    for key, value in record.items():
        name = before + key
        if isinstance(value, dict):
            below = flattened(value, column, f"{name}.")
        elif isinstance(value, list) and column.startswith(f"{name}."):
            below = [one for inner in value if isinstance(inner, dict) for one in flattened(inner, column, f"{name}.")]
        else:
            below = [{name: value}]
        if len(below) == 1:  # as nearly always: rows of many columns stay quick
            for one in flat:
                one.update(below[0])
        else:
            flat = [one | more for one in flat for more in below]
    return flat
