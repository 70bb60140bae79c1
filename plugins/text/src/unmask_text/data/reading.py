"""Text from files as a stream of segments: plain text, JSON, CSV and Parquet, gzipped or not."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from unmask.data import CLASS, Findings, TableFormat, find_files, label_of, no_such, one_label
from unmask_text.data.fields import Columns, Row, looked_at
from unmask_text.data.report import Report
from unmask_text.data.tables import json_rows, parquet_rows, table_rows

PLAIN = (".txt", ".text", ".md", ".rst")
JSON = (".jsonl", ".ndjson", ".json")
TABLES = (*JSON, ".csv", ".tsv", ".parquet")
ENDINGS = (*PLAIN, *TABLES)
CHUNK = 2**20
HEAD = 2**13
"""Bytes that tell whether a file is text."""
SEGMENT = 2**16
"""Characters that are cut into tokens at once, at most: what bounds memory, however long a line is."""

AS_PLAIN = "files with other endings, given by name, are read as plain text"
AGAIN = "files that are found twice are read once"
UNLABELLED = "documents have no label"
OTHER_KIND = "rows hold a value of type {} in `{}` instead of text; `text_column` names another column"
NO_ROWS = "JSON files without documents are left out"


class Segment(NamedTuple):
    """A document, or the next part of one.

    Args:
        text: at most `SEGMENT` characters.
        first: whether a document begins here.
        label: the document's class, or what stands in its cell where labels are of another kind; None: it has none.
        file: where the document is from, below the folder that was given.
        row: of a table, which one, from 1 (the names in a first line do not count); of plain text, the line that the
            document begins in; 0: it is all of the file.
    """

    text: str
    first: bool
    label: Any = None
    file: str = ""
    row: int = 0


class Options(NamedTuple):
    """How files are read; see `TextFilesData`."""

    document: str = "file"
    text_column: str | None = None
    labels: str | None = None
    encoding: str = "utf-8"
    label_kind: str = CLASS
    label_separator: str | None = None
    table_format: TableFormat | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON has them. Options that earlier versions lacked stand there where they are used, so that what is kept
        of before is found again."""
        given = self._asdict() | {"table_format": self.table_format and asdict(self.table_format)}
        return {name: own for name, own in given.items() if name in _FIRST or own != Options._field_defaults[name]}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Options:
        """What `plain` gave."""
        form = plain.get("table_format")
        return cls(**{**plain, "table_format": form and TableFormat(**form)})


_FIRST = ("document", "text_column", "labels", "encoding")
"""Options of the first version."""


class NotTextError(ValueError):
    """A file holds no text.

    Args:
        reason: what it holds instead.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"`{path}` must be text, but {reason}.")
        self.reason = reason


class Found(NamedTuple):
    """A file to read.

    Args:
        path: of it.
        root: the folder that it was found in; its own for a file given by name.
        named: whether it was given by name.
        name: what its documents are called by: the path below ``root``, or the whole one where files of several
            folders are read.
    """

    path: Path
    root: Path
    named: bool
    name: str = ""


def files_of(paths: Iterable[str], findings: Findings, option: str = "paths") -> list[Found]:
    """Files to read in order, each once.

    Raises:
        ValueError: a path that does not exist or is neither a file nor a folder, or no file to read.
    """
    found: dict[str, Found] = {}
    for given in paths:
        path = Path(given).expanduser()
        if not given or not path.exists():
            raise no_such(given, option)
        if path.is_dir():
            endings = [*ENDINGS, *(f"{ending}.gz" for ending in ENDINGS)]
            files = [Found(one, path, False) for one in find_files(path, endings, findings, "texts", option)]
        elif path.is_file():
            files = [Found(path, path.parent, True)]
            if ending_of(path) not in ENDINGS:
                findings.note(AS_PLAIN, str(path))
        else:
            raise ValueError(f"`{option}` must be files or folders, but `{given}` is a pipe, a socket or a device.")
        for one in files:
            if found.setdefault(os.path.realpath(one.path), one) is not one:
                findings.note(AGAIN, str(one.path))
    if not found:
        raise ValueError(f"`{option}` must be files or folders, but is empty.")
    several = len({one.root for one in found.values()}) > 1
    return [
        one._replace(name=(one.path if several else one.path.relative_to(one.root)).as_posix())
        for one in found.values()
    ]


def read_file(file: Found, options: Options, report: Report, moved: Callable[[int], None]) -> Iterator[Segment]:
    """Segments of one file, each document of which begins with one that is ``first``.

    A file of a folder that is no text is counted and left out, as is a ``.json`` there without documents.

    Args:
        file: the file; the first folder on the way to it is the class for ``labels="folder"``.
        options: how to read.
        report: counts what is odd.
        moved: called with the number of bytes read so far.

    Raises:
        ValueError: a column that there is not, quotes of a table that do not fit, JSON that breaks off, labels that are
            no classes, or a file given by name that is no text.
    """
    report.num_files += 1
    begun = seen = False
    left_out = report.num_unreadable_rows
    try:
        for segment in _segments(file, options, report, moved):
            begun, blank = True, not segment.text.strip()
            seen = seen or not blank
            report.findings.note(
                UNLABELLED,
                count=int(options.labels is not None and segment.label is None and segment.first and not blank),
            )
            yield segment._replace(file=file.name)
        report.num_empty_files += not seen and report.num_unreadable_rows == left_out
    except (OSError, EOFError, zlib.error) as error:
        report.unreadable(f"{file.path} ({' '.join(str(error).split()) or type(error).__name__})")
    except NotTextError as error:
        if file.named:
            raise
        report.unreadable(f"{file.path} ({error.reason})")
    except ValueError:
        if file.named or begun or ending_of(file.path) != ".json":
            raise
        report.num_files -= 1
        report.findings.note(NO_ROWS, str(file.path))


def cut(text: str, label: Any, report: Report, file: str = "", row: int = 0) -> Iterator[Segment]:
    """A document's segments, cut before blanks where there are any; the other arguments are those of `Segment`."""
    start = 0
    while len(text) - start > SEGMENT:
        end = _blank(text, start, start + SEGMENT)
        if end is None:
            end = start + SEGMENT
            report.num_cut_words += 1
        yield Segment(text[start:end], start == 0, label, file, row)
        start = end
    yield Segment(text[start:], start == 0, label, file, row)


def clean(text: str, report: Report) -> str:
    """The text without NULs and without lone surrogates, which stand for bytes that were no text."""
    if "\0" in text:
        report.num_nuls += text.count("\0")
        text = text.replace("\0", " ")
    if _SURROGATE.search(text):
        text, times = _SURROGATE.subn("\ufffd", text)
        report.num_invalid_bytes += times
    return text


def documents_of(
    rows: Iterable[tuple[Columns, Row]],
    label_kind: str,
    report: Report,
    *,
    folder: str | None = None,
    option: str = "labels",
    names: Sequence[str] = (),
) -> Iterator[Segment]:
    """A document per row, or per object of the arrays in them.

    Args:
        rows: behind the columns that count.
        label_kind: what labels are taken for.
        report: counts rows without a text.
        folder: the class of all of them, where rows have none of their own.
        option: that names the column of labels, in messages.
        names: of classes, where labels are their numbers.
    """
    num_objects = 0
    for columns, (number, row) in rows:
        for one in columns.flat(row):
            num_objects += 1
            text = one.get(columns.text)
            if not isinstance(text, str):
                report.num_unreadable_rows += 1
                other = "" if text is None else OTHER_KIND.format(type(text).__name__, columns.text)
                report.findings.note(other, count=int(bool(other)))
                continue
            label: Any = folder
            if columns.label is not None:
                value = _named(one.get(columns.label), names)
                label = one_label(value, f"`{option}`", "document") if label_kind == CLASS else cell_of(value)
            yield from cut(clean(text, report), label, report, row=num_objects if columns.many else number)


def _named(value: Any, names: Sequence[str]) -> Any:
    """Classes by their names in place of their numbers; -1 is no class."""
    if isinstance(value, list):
        return [_named(one, names) for one in value] if names else value
    if not names or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None if value == -1 else value


def cell_of(value: Any) -> Any:
    """What stands in a cell of a label that is no single class; None: nothing does."""
    return value or None if isinstance(value, list) else None if label_of(value) is None else value


def _segments(file: Found, options: Options, report: Report, moved: Callable[[int], None]) -> Iterator[Segment]:
    path, root = file.path, file.root
    ending, by_folder = ending_of(path), options.labels == "folder"
    folder = path.relative_to(root).parts[0] if by_folder and path.parent != root else None
    label = None if by_folder else options.labels
    if ending == ".parquet":
        held = parquet_rows(path, options.text_column, label, report.findings)
        yield from documents_of(held, options.label_kind, report, folder=folder)
        return
    with path.open("rb") as raw:
        form = options.table_format or TableFormat()
        is_table = ending in (".csv", ".tsv")
        encoding = form.encoding if is_table and form.encoding else options.encoding
        text = _characters(raw, path, encoding, report, moved)
        rows: Iterator[Row] | None = None
        if ending in JSON:
            rows = json_rows(text, path, report)
        elif is_table:
            rows = table_rows(text, path, options.text_column, report.findings, form)
        if rows is not None:
            known = looked_at(rows, options.text_column, label, report.findings, f"`{path}`")
            yield from documents_of(known, options.label_kind, report, folder=folder)
        elif options.labels is not None and not by_folder:
            raise ValueError(f"`labels` must be 'folder' for plain text such as `{path}`, but is {options.labels!r}.")
        else:
            yield from _documents(text, options.document, folder, report)


def ending_of(path: Path) -> str:
    """The ending, in lower case and without ``.gz``; empty where there is none."""
    name = path.name.lower().removesuffix(".gz")
    return "." + name.rpartition(".")[2] if "." in name else ""


def _characters(
    raw: BinaryIO, path: Path, encoding: str, report: Report, moved: Callable[[int], None]
) -> Iterator[str]:
    """Text in chunks, line ends as ``\\n``."""
    stream: Any = gzip.GzipFile(fileobj=raw) if path.name.lower().endswith(".gz") else raw
    chunk = stream.read(CHUNK)
    for mark, name in _MARKS.items():  # a byte-order mark says more than the option
        if chunk.startswith(mark):
            encoding, chunk = name, chunk[len(mark) :]
            break
    if reason := _no_text(chunk[:HEAD], encoding):
        raise NotTextError(path, reason)
    if ending_of(path) not in TABLES and _OBJECT.match(chunk[:HEAD]):
        raise NotTextError(path, "is JSON; give it the ending .json or .jsonl")
    utf8 = codecs.lookup(encoding).name == "utf-8"
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if utf8 else "replace")
    newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
    while True:
        text = newlines.decode(chunk, final=not chunk)
        if not utf8:
            report.num_invalid_bytes += text.count("\ufffd")
        yield clean(text, report)
        if not chunk:
            return
        moved(raw.tell())
        chunk = stream.read(CHUNK)


def _no_text(head: bytes, encoding: str) -> str | None:
    """What else than text a file that begins so is; None: it may be text."""
    for kind, mark in _KINDS.items():
        if mark.match(head):
            return f"is {kind}"
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        return None
    if head.count(0) > 0.2 * len(head):
        return "has a NUL in more than a fifth of its bytes; if it is UTF-16 or UTF-32, give that `encoding`"
    if len(head.translate(None, _CONTROLS)) < 0.95 * len(head) - head.count(0):
        return "is full of control characters"
    return None


def _documents(chunks: Iterator[str], document: str, label: str | None, report: Report) -> Iterator[Segment]:
    """Plain text as documents: the file, or its paragraphs or lines."""
    rest, first, line = "", True, 1
    for chunk in chunks:
        rest += chunk
        start = 0
        for separator in _SEPARATOR[document].finditer(rest) if document != "file" else ():
            text = rest[start : separator.start()]
            # The tail of a document whose beginning was given out before may be empty, others may not.
            if text.strip() or not first:
                segments = cut(text, label, report, row=_begins(text, line))
                yield next(segments)._replace(first=first)
                yield from segments
            line += rest.count("\n", start, separator.end())
            first, start = True, separator.end()
        rest = rest[start:]
        while len(rest) > 2 * SEGMENT:  # never to the end, where a separator may go on
            end = _blank(rest, 0, SEGMENT)
            report.num_cut_words += end is None
            text, rest = rest[: end or SEGMENT], rest[end or SEGMENT :]
            yield Segment(text, first, label, row=0 if document == "file" else _begins(text, line))
            line += text.count("\n")
            first = False
    if rest.strip():
        segments = cut(rest, label, report, row=0 if document == "file" else _begins(rest, line))
        yield next(segments)._replace(first=first)
        yield from segments


def _begins(text: str, line: int) -> int:
    """The line that the first letter of a text is in, which itself begins in ``line``."""
    return line + text.count("\n", 0, len(text) - len(text.lstrip()))


def _blank(text: str, start: int, end: int) -> int | None:
    """The last blank in the second half of ``text[start:end]``; None: there is none."""
    place = max(text.rfind(blank, (start + end) // 2, end) for blank in " \n\t")
    return place if place > 0 else None


_OBJECT = re.compile(rb'\s*(\[\s*)?\{\s*"(?:[^"\\]|\\.)*"\s*:')
"""How JSON begins: an object, or an array of them."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_SEPARATOR = {"line": re.compile("\n"), "paragraph": re.compile(r"\n[ \t]*\n\s*")}
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # begins as the next one does
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_CONTROLS = bytes({*range(1, 9), *range(14, 27), *range(28, 32)})
_KINDS = {
    "a ZIP archive, as .docx, .xlsx and .odt files are": re.compile(rb"PK\x03\x04"),
    "a PDF": re.compile(rb"%PDF-"),
    "an Office file": re.compile(rb"\xd0\xcf\x11\xe0"),
    "Parquet without the ending .parquet": re.compile(rb"PAR1"),
    "compressed by gzip without the ending .gz": re.compile(rb"\x1f\x8b"),
    "compressed by another program than gzip": re.compile(
        rb"BZh\d1AY&SY|\xfd7zXZ\0|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c"
    ),
    "a tar archive": re.compile(rb".{257}ustar", re.S),
    "a database of SQLite": re.compile(rb"SQLite format 3\0"),
    "a picture": re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8[79]a"),
}
"""What people take for text, by how it begins."""
