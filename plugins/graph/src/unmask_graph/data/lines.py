"""Tables of text with or without a line of names: comments, spaces between fields, and compressed files."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO

from unmask.data import Findings, TableFormat, lines_of, no_such, open_gzip, read_table

Columns = dict[str, list]
"""Cells by the name of their column."""

COMMENTS = "lines of comment at the beginning are left out"
SPACES = "tables are separated by spaces"
FIRST_EDGE = "tables have no line of names: their first line is an edge (`header: true` makes names of it)"
NAMELESS = "columns without a name are left out"
DELIMITERS = {"tab": "\t", "\\t": "\t", "space": " "}
"""Delimiters by other names, which are easier to give on a command line."""
COMMENT_MARKS = ("#", "%", "//")


def read_columns(
    path: Path, option: str, findings: Findings, delimiter: str | None = None, header: bool | None = True
) -> Columns:
    """Cells by column.

    Lines at the beginning that begin with ``#`` or ``%`` are comments. Fields are separated as in all tables (commas,
    tabs, semicolons), or by spaces where the first line has none of these.

    Args:
        path: of the table; ``.gz`` is read as it is.
        option: that names it, in a message.
        findings: is told of comments, spaces and rows that are left out.
        delimiter: between fields, one sign or a key of `DELIMITERS`; None: by that rule.
        header: whether the first line names the columns; None: unless a field of it is a number.

    Raises:
        ValueError: no such file, no text, or a table that cannot be read.
    """
    if delimiter is not None and len(delimiter) != 1 and delimiter not in DELIMITERS:
        raise ValueError(f"`delimiter` must be one sign, tab or space, but is {delimiter!r}.")
    if not path.is_file():
        raise no_such(path, option)
    try:
        with _opened(path) as file:
            lines = _without_comments(lines_of(file, path.name), findings)
            first = next(lines, "")
            delimiter = DELIMITERS.get(delimiter, delimiter) if delimiter else _delimiter(first, path.name)
            if delimiter == " ":
                findings.note(SPACES, path.name)
                lines = ("\t".join(line.split()) + "\n" for line in lines)
                first, delimiter = "\t".join(first.split()) + "\n", "\t"
            fields = [field.strip().strip('"') for field in first.rstrip("\r\n").split(delimiter or ",")]
            if header is None:
                header = not any(map(is_number, fields))
            if not header and first:
                findings.note(FIRST_EDGE, f"{path.name} ({', '.join(fields[:3])})")
                lines = chain([first], lines)
                first = (delimiter or ",").join(column_names(len(fields))) + "\n"
            table = read_table(chain([first], lines), path.name, findings, TableFormat(delimiter))
            columns: Columns = {name: [] for name in table.columns}
            for row in table.rows:
                for name, cell in row.items():
                    columns[name].append(cell.strip())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name!r} must be text in UTF-8, but is not: {error.reason}.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name!r} cannot be read: {error}.") from error
    if "" in columns:
        findings.note(NAMELESS, f"of {path.name}")
        del columns[""]
    return columns


def column_names(count: int) -> list[str]:
    """Names of the columns of a table of edges that has none."""
    return ["source", "target", *(f"column {number}" for number in range(3, count + 1))][:count]


def is_number(cell: str) -> bool:
    """Whether it is written as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _opened(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return io.TextIOWrapper(open_gzip(path, path.name), encoding="utf-8-sig", newline="")
    return path.open(newline="", encoding="utf-8-sig")


def _without_comments(file: Iterator[str], findings: Findings) -> Iterator[str]:
    """The lines from the first one on that is neither empty nor a comment."""
    count = 0
    for line in file:
        if line.strip() and not line.lstrip().startswith(COMMENT_MARKS):
            findings.note(COMMENTS, count=count)
            yield line
            break
        count += bool(line.strip())
    yield from file


def _delimiter(first: str, name: str) -> str | None:
    """None: as `read_table` finds it."""
    usual = name.lower().removesuffix(".gz").endswith((".csv", ".tsv"))
    marks = ("\t", ",", ";")
    found = next((mark for mark in marks if mark in first), None)
    if found is not None:
        return None if usual else found
    return " " if len(first.split()) > 1 else None
