"""How tables are read, the same in every modality: CSV, TSV, JSON and Parquet; each may be packed by gzip.

- The first line of a CSV or TSV names the columns. A ``.tsv`` is separated by tabs; a ``.csv`` by commas, or by the
  semicolons or tabs of a first line that has no comma. A line ``sep=;`` above it, as Excel writes it, says so, too.
- CSV: a field may be quoted, and a quote inside a quoted field is doubled. A stray quote would swallow rows: where the
  quotes of a row do not fit, the table is refused, and the line is named. Fields with line ends in them are counted.
- TSV: a field that both begins and ends with a quote is quoted; any other quote is a character, and is counted.
- A row with more or fewer fields than there are columns is left out, counted and named.
- Text is UTF-8, or what its byte-order mark says. A line, and a field, has at most `LONGEST` characters.
- JSON: an object a line (``.jsonl``, ``.ndjson``), or an array of objects (``.json``). Fields inside of others are
  named as `unmask.data.fields` says: ``meta.label``. Parquet: structs likewise.

`TableFormat` says otherwise where a rule does not fit.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal, cast

from unmask.data.fields import column_of, flattened
from unmask.data.findings import Findings
from unmask.data.unpacking import check_parquet, open_gzip
from unmask.support.nearest import nearest, quoted

RAGGED = "rows with more or fewer fields than the first line are left out"
LINE_ENDS = "fields with line ends inside of quotes"
STRAY = "fields with a quote at one end alone, read as it stands"
SEPARATED = "tables are separated by {} instead of commas"

LONGEST = 2**24
"""Characters of a line, and of a field, at most: what bounds memory. The longest novels have a fifth of it."""
LINES, ARRAY, PARQUET = (".jsonl", ".ndjson"), ".json", ".parquet"
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Encodings by the byte-order mark that a file begins with."""


_SEP = re.compile(r'\s*"?sep=(.)"?\s*$', re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class TableFormat:
    """How to read a CSV or TSV that the rules of `unmask.data.tables` do not fit.

    Args:
        delimiter: one character between fields; None: by the rules.
        encoding: such as ``cp1252`` or ``latin-1``; None: UTF-8, or what a byte-order mark says.
        quoting: ``doubled``: fields may be quoted, and a quote inside of one is doubled; ``none``: a quote is a
            character like any other; None: by the rules.
        header: whether the first line names the columns; False: they are called ``1``, ``2`` and so on.

    Raises:
        ValueError: a delimiter of more or less than a character, an encoding that is not known, another ``quoting``.
    """

    delimiter: str | None = None
    encoding: str | None = None
    quoting: Literal["doubled", "none"] | None = None
    header: bool = True

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ValueError(f"`delimiter` must be one character, but is {self.delimiter!r}.")
        if self.quoting not in ("doubled", "none", None):
            raise ValueError(f"`quoting` must be 'doubled', 'none' or None, but is {self.quoting!r}.")
        if self.encoding is not None:
            try:
                is_text = codecs.lookup(self.encoding)._is_text_encoding
            except LookupError:
                is_text = False
            if not is_text:
                near = quoted(nearest(self.encoding, ["utf-8", "utf-16", "cp1252", "latin-1", "shift_jis", "gb18030"]))
                raise ValueError(
                    f"`encoding` must be one of text that Python knows, but is {self.encoding!r}"
                    f"{'; nearest: ' + near if near else '; such as cp1252 or latin-1'}."
                )


@dataclass(frozen=True)
class Table:
    """Columns by name, and rows as they are asked for.

    Args:
        name: of the file, in messages.
        columns: in their order.
        rows: each a field per column, words in tables of text; read once.
        findings: is told of columns inside of others that are not named in full; None: nobody is.
    """

    name: str
    columns: list[str]
    rows: Iterator[dict[str, Any]]
    findings: Findings | None = None

    def column(self, option: str, wanted: str | None, *fallbacks: str) -> str:
        """The column that ``option`` names, see `column_of`.

        Raises:
            ValueError: there is none such, or several; names the nearest.
        """
        return column_of(self.columns, option, wanted, *fallbacks, findings=self.findings, where=f"`{self.name}`")


@contextmanager
def open_table(path: Path, findings: Findings, form: TableFormat = TableFormat()) -> Iterator[Table]:
    """A table from a file, by its ending: JSON, JSON lines, Parquet, or else text with columns.

    Args:
        path: the file.
        findings: as `read_table` has it.
        form: of text with columns.

    Raises:
        ValueError: as `read_table`; text in another encoding; JSON that is none or not of objects; Parquet without
            pyarrow.
        OSError: no such file.
    """
    plain = path.name.lower().removesuffix(".gz")
    if plain.endswith(PARQUET):
        yield _records(_parquet(path), path.name, findings)
        return
    with path.open("rb") as raw:
        file = cast("IO[bytes]", open_gzip(raw, path.name)) if path.name.lower().endswith(".gz") else raw
        try:
            if plain.endswith((ARRAY, *LINES)):
                yield _records(_json(file.read(), path.name, plain.endswith(ARRAY)), path.name, findings)
            else:
                yield read_table(_text(file, path.name, form.encoding), path.name, findings, form)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"`{path.name}` must be packed by gzip, as its name says, but is not: {error}.") from error


def read_table(lines: Iterable[str], name: str, findings: Findings, form: TableFormat = TableFormat()) -> Table:
    """A table from its lines (with their ends).

    Args:
        lines: of the file, without a byte-order mark.
        name: of the file; its ending says which kind of table it is.
        findings: is told of rows that are left out and of odd quotes, once they are met.
        form: what differs from the rules.

    Raises:
        ValueError: no first line, a column without a name of its own; and from ``rows``: quotes that do not fit.
    """
    lines = iter(lines)
    skipped = 0
    mark = None
    for first in lines:
        mark = mark or _SEP.match(first)
        if first.strip() and not _SEP.match(first):
            break
        skipped += 1
    else:
        raise ValueError(f"`{name}` must have a first line that names its columns, but is empty.")
    is_tsv = ".tsv" in name.lower()[-8:]
    plain = is_tsv if form.quoting is None else form.quoting == "none"
    delimiter = form.delimiter
    if delimiter is None and mark is not None:
        delimiter = mark[1]
    elif delimiter is None:
        delimiter = "\t" if is_tsv else _delimiter(first)
        if delimiter != "," and not is_tsv:
            findings.note(SEPARATED.format("semicolons" if delimiter == ";" else "tabs"), name)
    read = _plain if form.quoting == "none" else _tsv if plain else _csv
    rows = read(chain(["\n"] * skipped, [first], lines), name, findings, delimiter)  # lines keep their numbers
    begin = next(rows)
    if form.header:
        columns = [word.strip() for word in begin[1]]
    else:
        columns, rows = [str(number + 1) for number in range(len(begin[1]))], chain([begin], rows)
    twice = next((word for word in columns if columns.count(word) > 1), None)
    if twice is not None:
        raise ValueError(f"The first line of `{name}` must name each column once, but {twice!r} is there twice.")
    return Table(name, columns, _fitting(rows, columns, name, findings))


def _text(file: IO[bytes], name: str, encoding: str | None) -> Iterator[str]:
    """Lines of a file in its encoding."""
    begin = file.read(4)
    file.seek(0)
    chosen = encoding or next((word for mark, word in MARKS.items() if begin.startswith(mark)), "utf-8")
    try:
        yield from lines_of(io.TextIOWrapper(file, encoding=chosen, newline=""), name)
    except UnicodeError as error:
        near = "such as `cp1252` or `latin-1`" if encoding is None else "another one"
        raise ValueError(
            f"`{name}` must be text of {chosen.upper()}, but is not ({error.__class__.__name__}); name its `encoding`, "
            f"{near}."
        ) from error


def lines_of(file: IO[str], name: str) -> Iterator[str]:
    """Lines of a text, with their ends.

    Raises:
        ValueError: one of more than `LONGEST` characters.
    """
    for number, line in enumerate(iter(partial(file.readline, LONGEST + 1), ""), 1):
        if len(line) > LONGEST:
            raise ValueError(
                f"`{name}` must have at most {LONGEST:,} characters in a line, but has more in line {number:,}."
            )
        yield line


def _json(content: bytes, name: str, whole: bool) -> Iterator[Any]:
    """Records, from lines with one each; of a ``.json`` an array of them, where it is one."""
    if whole and content.lstrip(codecs.BOM_UTF8).lstrip()[:1] == b"[":
        try:
            yield from json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"`{name}` must be JSON, but is not: {error}.") from error
        return
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"`{name}`, line {number:,}, must be a JSON object, but is not: {error}.") from error


def _parquet(path: Path) -> Iterator[Any]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise ValueError(
            f"`{path.name}` is a Parquet file, which needs pyarrow: pip install 'unmask[parquet]'."
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            check_parquet(file, path)
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except ArrowException as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"`{path.name}` must be a Parquet file, but is not: {why}.") from error


def _records(records: Iterator[Any], name: str, findings: Findings) -> Table:
    """A table of objects, which may lack fields of each other."""
    rows: list[dict[str, Any]] = []
    for number, record in enumerate(records, 1):
        if not isinstance(record, Mapping):
            raise ValueError(f"`{name}` must hold objects with fields, but record {number:,} is {record!r:.60}.")
        rows += flattened(dict(record))
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if not columns:
        raise ValueError(f"`{name}` must hold objects with fields, but holds none.")
    return Table(name, columns, ({column: row.get(column) for column in columns} for row in rows), findings)


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
    before = csv.field_size_limit(LONGEST)
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        while True:
            start = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "field larger" in str(error):
                    raise ValueError(
                        f"`{name}` must have at most {LONGEST:,} characters in a field, but has more in that of line "
                        f"{start:,}; a quote may lack its end."
                    ) from error
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


def _plain(lines: Iterator[str], name: str, findings: Findings, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, line.rstrip("\r\n").split(delimiter)


def _unquoted(field: str, where: str, findings: Findings) -> str:
    begins, ends = field.startswith('"'), field.endswith('"')
    if begins and ends and len(field) > 1:
        return field[1:-1].replace('""', '"')
    findings.note(STRAY, where, int(begins or ends))
    return field


def _delimiter(first: str) -> str:
    return "," if "," in first else next((mark for mark in ";\t" if mark in first), ",")
