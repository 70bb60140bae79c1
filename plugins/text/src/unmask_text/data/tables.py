"""Rows of tables in files: JSON, CSV, TSV and Parquet, one at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from unmask.data import LONGEST, RAGGED, Findings, TableFormat, check_parquet, read_table
from unmask_text.data.fields import Columns, Fields, Row
from unmask_text.data.report import Report

ONE_COLUMN = "tables of one column, whose first line is taken for its name"
LONGEST_NAME = 4
"""Words in the name of a column at most; a first line with more in one is of no names."""
LARGEST_OBJECT = 2**26
"""Characters of one object in a ``.json`` file at most: what bounds memory."""


def json_rows(chunks: Iterator[str], path: Path, report: Report) -> Iterator[Row]:
    """Objects of a JSON file, whichever of its three forms it has: objects in lines, an array of objects, or objects
    over several lines, of which there is mostly one.

    Lines that are no object are counted and left out.

    Raises:
        ValueError: a file that is none of these, or breaks off.
    """
    head, chunks = _head(chunks)
    begins_array = re.match(r"\[\s*[{\]]", head)
    whole_line = _object(head.partition("\n")[0])
    if begins_array or not (whole_line or _in_lines(path)):
        yield from enumerate(_Objects(chunks, path, in_array=bool(begins_array)), 1)
        return
    for number, line in enumerate(filter(str.strip, _lines(chunks, path)), 1):
        row = _object(line)
        if row is not None:
            yield number, row
        else:
            report.num_unreadable_rows += 1


def table_rows(
    chunks: Iterator[str], path: Path, text_column: str | None, findings: Findings, form: TableFormat = TableFormat()
) -> Iterator[Row]:
    """Rows of a CSV or TSV by the names in the first line, see `read_table`; none of an empty file.

    The first line may be no names at all: it is refused where one of them reads like a sentence and no column is
    called as it should be. The only column may have any name, which is noted.

    Raises:
        ValueError: quotes that do not fit, columns without a name of their own, or a first line that is no name.
    """
    lines = _lines(chunks, path)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return
    table = read_table(chain([first], lines), str(path), findings, form)
    if form.header and (text_column or "text") not in table.columns:
        alone = len(table.columns) == 1
        for name in table.columns:
            if len(name.split()) > LONGEST_NAME or (alone and name.endswith((".", "!", "?"))):
                raise ValueError(
                    f"The first line of `{path}` must name its columns, but has {name[:60]!r}; set "
                    "`table_format.header` to false, and `text_column` to 1, 2, ... where there are several columns."
                )
        if alone and text_column is None:
            findings.note(ONE_COLUMN, f"{table.columns[0]!r} in {path}")
    before = findings.count(RAGGED)
    for number, row in enumerate(table.rows, 1):
        yield number + findings.count(RAGGED) - before, row


def parquet_rows(
    path: Path, text_column: str | None, label_column: str | None, findings: Findings, name_column: str | None = None
) -> Iterator[tuple[Columns, Row]]:
    """Rows with what holds text, label and name alone, behind those columns.

    Raises:
        ValueError: `pyarrow` is not installed, or a column that there is not.
        OSError: the file is damaged.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError(f"`{path}` needs the package `pyarrow`: pip install pyarrow.") from error
    try:
        with pq.ParquetFile(path) as file:
            check_parquet(file, path)
            names = {name: many for field in file.schema_arrow for name, many in _leaves(field)}
            columns = Columns.of(names, text_column, label_column, findings, f"`{path}`", name=name_column)
            number = 0
            for batch in file.iter_batches(batch_size=256, columns=columns.held(file.schema_arrow.names)):
                for row in batch.to_pylist():
                    number += 1
                    yield columns, (number, row)
    except pa.ArrowException as error:
        raise OSError(error) from error


def _leaves(field: Any, prefix: str = "", many: bool = False) -> Iterator[tuple[str, bool]]:
    """Dotted names of what is inside of a column of Arrow, and whether a list is on the way to it."""
    kind, name = field.type, prefix + field.name
    listed = hasattr(kind, "value_field")  # lists of all kinds
    inside = kind.value_type if listed else kind
    if hasattr(inside, "get_field_index"):  # a struct
        for place in range(inside.num_fields):
            yield from _leaves(inside.field(place), f"{name}.", many or listed)
    else:
        yield name, many


class _Objects:
    """Objects one after another, or those of an array, read as far as each needs."""

    def __init__(self, chunks: Iterator[str], path: Path, in_array: bool) -> None:
        self.chunks, self.path, self.in_array = chunks, path, in_array
        self.text, self.place, self.number = "", 0, 0

    def __iter__(self) -> Iterator[Fields]:
        if self.in_array:
            self._next()
            self.place += 1
        while True:
            mark = self._next()
            if mark == ("]" if self.in_array else ""):
                self.place += 1
                if self.in_array and self._next():
                    raise self._damaged("goes on after its array")
                return
            if self.in_array and self.number:
                if mark != ",":
                    raise self._damaged(f"has no comma behind object {self.number:,}")
                self.place += 1
                mark = self._next()
            if mark != "{":
                raise self._damaged(f"has {mark!r} where object {self.number + 1:,} should begin")
            self.number += 1
            yield self._object()

    def _next(self) -> str:
        """The next character that is no blank, which is not used up; empty at the end."""
        while True:
            self.place = _BLANK.match(self.text, self.place).end()  # type: ignore[union-attr]
            if self.place < len(self.text):
                return self.text[self.place]
            more = next(self.chunks, None)
            if more is None:
                return ""
            self.text, self.place = more, 0

    def _object(self) -> Fields:
        size = len(self.text) - self.place
        while True:
            try:
                row, self.place = _DECODER.raw_decode(self.text, self.place)
                return row
            except RecursionError as error:
                raise self._damaged(f"nests object {self.number:,} too deep") from error
            except json.JSONDecodeError as error:
                cut_off = error.pos > len(self.text) - 16 or error.msg.startswith("Unterminated string")
                more = _read(self.chunks, size) if cut_off and size < LARGEST_OBJECT else ""  # twice as much each time
                if not more:
                    raise self._damaged(f"has a fault in object {self.number:,} ({error.msg})") from error
                self.text, self.place = self.text[self.place :] + more, 0
                size = len(self.text)

    def _damaged(self, what: str) -> ValueError:
        return ValueError(
            f"`{self.path}` must be JSON: an array of objects, an object in each line, or one object; but it {what}."
        )


def _read(chunks: Iterator[str], size: int) -> str:
    """At least as many characters, if there are."""
    parts: list[str] = []
    while size > 0 and (chunk := next(chunks, None)) is not None:
        parts.append(chunk)
        size -= len(chunk)
    return "".join(parts)


def _object(line: str) -> Fields | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _in_lines(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson"))


def _head(chunks: Iterator[str]) -> tuple[str, Iterator[str]]:
    """What a file begins with, its first line or what tells that it is an array, and all chunks."""
    parts: list[str] = []
    text = ""
    for chunk in chunks:
        parts.append(chunk)
        text = (text + chunk).lstrip()
        if ("\n" in text or len(text) > LARGEST_OBJECT) if text.startswith("{") else text[1:].strip():
            break
    return text, chain(parts, chunks)


def _lines(chunks: Iterator[str], path: Path) -> Iterator[str]:
    """Whole lines with their ends.

    Raises:
        ValueError: one of more than `LONGEST` characters.
    """
    parts: list[str] = []
    for chunk in chunks:
        *lines, rest = chunk.split("\n")
        for line in lines:
            yield "".join(parts) + line + "\n"
            parts = []
        if rest:
            parts.append(rest)
        if sum(map(len, parts)) > LONGEST:
            raise ValueError(f"`{path}` must have at most {LONGEST:,} characters in a line, but has more in one.")
    if parts:
        yield "".join(parts)


_BLANK = re.compile(r"\s*")
_DECODER = json.JSONDecoder()
