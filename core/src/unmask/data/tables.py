"""How tables of text are read, the same in every modality: CSV and TSV, from a stream of lines of any length.

- The first line names the columns. A ``.tsv`` is separated by tabs; a ``.csv`` by commas, or by the semicolons or
  tabs of a first line that has no comma.
- CSV: a field may be quoted, and a quote inside a quoted field is doubled. A stray quote would swallow rows: where the
  quotes of a row do not fit, the table is refused, and the line is named. Fields with line ends in them are counted.
- TSV: a field that both begins and ends with a quote is quoted; any other quote is a character, and is counted.
- A row with more or fewer fields than there are columns is left out, counted and named.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from unmask.data.findings import Findings
from unmask.support.nearest import nearest, quoted

RAGGED = "rows with more or fewer fields than the first line are left out"
LINE_ENDS = "fields with line ends inside of quotes"
STRAY = "fields with a quote at one end alone, read as it stands"
SEPARATED = "tables are separated by {} instead of commas"


@dataclass(frozen=True)
class Table:
    """Columns by name, and rows as they are asked for.

    Args:
        name: of the file, in messages.
        columns: in their order.
        rows: each a field per column; read once.
    """

    name: str
    columns: list[str]
    rows: Iterator[dict[str, str]]

    def column(self, option: str, wanted: str | None, *fallbacks: str) -> str:
        """The column that ``option`` names; without one the first of ``fallbacks`` that there is, or the only column.

        Raises:
            ValueError: there is none such; names the nearest.
        """
        usual = next((name for name in fallbacks if name in self.columns), None)
        chosen = wanted or usual or (self.columns[0] if len(self.columns) == 1 else fallbacks[0] if fallbacks else "")
        if chosen not in self.columns:
            near = quoted(nearest(chosen, self.columns) or self.columns)
            raise ValueError(f"`{option}` must name a column of `{self.name}`, but is {chosen!r}; nearest: {near}.")
        return chosen


def read_table(lines: Iterable[str], name: str, findings: Findings, delimiter: str | None = None) -> Table:
    """A table from its lines (with their ends).

    Args:
        lines: of the file, without a byte-order mark.
        name: of the file; its ending says which kind of table it is.
        findings: is told of rows that are left out and of odd quotes, once they are met.
        delimiter: between fields; None: by the rule above.

    Raises:
        ValueError: no first line, a column without a name of its own; and from ``rows``: quotes that do not fit.
    """
    lines = iter(lines)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise ValueError(f"`{name}` must have a first line that names its columns, but is empty.")
    plain = ".tsv" in name.lower()[-8:]
    if delimiter is None:
        delimiter = "\t" if plain else _delimiter(first)
        if delimiter != "," and not plain:
            findings.note(SEPARATED.format("semicolons" if delimiter == ";" else "tabs"), name)
    read = _tsv if plain else _csv
    rows = read(_chained(first, lines), name, findings, delimiter)
    columns = [word.strip() for word in next(rows)[1]]
    twice = next((word for word in columns if columns.count(word) > 1), None)
    if twice is not None:
        raise ValueError(f"The first line of `{name}` must name each column once, but {twice!r} is there twice.")
    return Table(name, columns, _fitting(rows, columns, name, findings))


def _fitting(
    rows: Iterator[tuple[int, list[str]]], columns: list[str], name: str, findings: Findings
) -> Iterator[dict[str, str]]:
    for line, row in rows:
        while len(row) > len(columns) and not row[-1].strip():  # a delimiter at the end of the line
            row.pop()
        if len(row) != len(columns):
            findings.note(RAGGED, f"line {line:,} of {name}")
        else:
            yield dict(zip(columns, row, strict=True))


def _csv(lines: Iterator[str], name: str, findings: Findings, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    before = csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        while True:
            start = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise ValueError(
                    f"`{name}`, line {start:,}: a quote does not fit ({error}); double the quotes inside of a quoted "
                    "field, or save the table as `.tsv`."
                ) from error
            if not row or row == [""]:
                continue
            inside = sum("\n" in field.strip() for field in row)
            findings.note(LINE_ENDS, f"line {start:,} of {name}", inside)
            yield start, row
    finally:
        csv.field_size_limit(before)


def _tsv(lines: Iterator[str], name: str, findings: Findings, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        if line.strip():
            yield number, [_unquoted(field, f"line {number:,} of {name}", findings) for field in line.split(delimiter)]


def _unquoted(field: str, where: str, findings: Findings) -> str:
    begins, ends = field.startswith('"'), field.endswith('"')
    if begins and ends and len(field) > 1:
        return field[1:-1].replace('""', '"')
    findings.note(STRAY, where, int(begins or ends))
    return field


def _delimiter(first: str) -> str:
    return "," if "," in first else next((mark for mark in ";\t" if mark in first), ",")


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
