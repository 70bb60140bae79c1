"""Text from files as a stream of segments: plain text, JSON, CSV and Parquet, gzipped or not."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from unmask.data import CLASS, Findings, TableFormat, find_files, label_of, no_such, one_label
from unmask_text.data.characters import ENDINGS, JSON, NotTextError, characters, clean, ending_of
from unmask_text.data.fields import Columns, Row, looked_at
from unmask_text.data.report import Report
from unmask_text.data.tables import json_rows, parquet_rows, table_rows

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
        file: where the document is from, below the folder that was given; or what it is called, by ``name_column``.
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
    name_column: str | None = None

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
            yield segment if segment.file else segment._replace(file=file.name)
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
            called = "" if columns.name is None else str(label_of(one.get(columns.name)) or "")
            row_of = 0 if called else num_objects if columns.many else number
            yield from cut(clean(text, report), label, report, called, row_of)


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
        held = parquet_rows(path, options.text_column, label, report.findings, options.name_column)
        yield from documents_of(held, options.label_kind, report, folder=folder)
        return
    with path.open("rb") as raw:
        form = options.table_format or TableFormat()
        is_table = ending in (".csv", ".tsv")
        encoding = form.encoding if is_table and form.encoding else options.encoding
        text = characters(raw, path, encoding, report, moved)
        rows: Iterator[Row] | None = None
        if ending in JSON:
            rows = json_rows(text, path, report)
        elif is_table:
            rows = table_rows(text, path, options.text_column, report.findings, form)
        if rows is not None:
            known = looked_at(rows, options.text_column, label, report.findings, f"`{path}`", options.name_column)
            yield from documents_of(known, options.label_kind, report, folder=folder)
        elif options.labels is not None and not by_folder:
            raise ValueError(f"`labels` must be 'folder' for plain text such as `{path}`, but is {options.labels!r}.")
        else:
            yield from _documents(text, options.document, folder, report)


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


_SEPARATOR = {"line": re.compile("\n"), "paragraph": re.compile(r"\n[ \t]*\n\s*")}
