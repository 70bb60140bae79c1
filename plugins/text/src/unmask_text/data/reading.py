"""Text from files as a stream of segments: plain text, JSON lines, CSV and Parquet, gzipped or not."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from unmask.nearest import nearest, quoted
from unmask_text.data.report import Report
from unmask_text.data.tables import Row, column_of, csv_rows, json_rows, parquet_rows

ENDINGS = (".txt", ".text", ".md", ".rst", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
CHUNK = 2**20
SEGMENT = 2**16
"""Characters that are cut into tokens at once, at most: what bounds memory, however long a line is."""


class Segment(NamedTuple):
    """A document, or the next part of one.

    Args:
        text: at most `SEGMENT` characters.
        first: whether a document begins here.
        label: the document's class; None: it has none.
    """

    text: str
    first: bool
    label: str | None = None


class Options(NamedTuple):
    """How files are read; see `TextFilesData`."""

    document: str = "file"
    text_column: str | None = None
    labels: str | None = None
    encoding: str = "utf-8"


def find_files(paths: Iterable[str], report: Report) -> list[tuple[Path, Path]]:
    """Files to read in order, each with the folder that it was found in (its own for a file given by name).

    Raises:
        ValueError: a path that does not exist, or no file to read.
    """
    found: list[tuple[Path, Path]] = []
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            below = sorted(one for one in path.rglob("*") if one.is_file())
            fitting = [one for one in below if _ending(one) in ENDINGS]
            report.num_ignored_files += len(below) - len(fitting)
            found += [(one, path) for one in fitting]
        elif path.is_file():
            found.append((path, path.parent))
        else:
            there = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
            near = nearest(path.name, there)
            hint = f"; nearest: {quoted(str(path.parent / one) for one in near)}" if near else ""
            raise ValueError(f"`paths` must be files or folders, but there is no `{given}`{hint}.")
    if not found:
        raise ValueError(f"`paths` must hold files that end in {', '.join(ENDINGS)} (or those and .gz), but hold none.")
    return found


def read_file(
    path: Path, root: Path, options: Options, report: Report, moved: Callable[[int], None]
) -> Iterator[Segment]:
    """Segments of one file, each document of which begins with one that is ``first``.

    Args:
        path: the file.
        root: the folder that it was found in, whose first folder on the way is the class for ``labels="folder"``.
        options: how to read.
        report: counts what is odd.
        moved: called with the number of bytes read so far.

    Raises:
        ValueError: a column that there is not.
    """
    report.num_files += 1
    seen = False
    try:
        for segment in _segments(path, root, options, report, moved):
            seen = seen or bool(segment.text.strip())
            yield segment
        report.num_empty_files += not seen
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        report.unreadable(f"{path} ({' '.join(str(error).split()) or type(error).__name__})")


def cut(text: str, label: str | None, report: Report) -> Iterator[Segment]:
    """A document's segments, cut before blanks where there are any."""
    start = 0
    while len(text) - start > SEGMENT:
        end = _blank(text, start, start + SEGMENT)
        if end is None:
            end = start + SEGMENT
            report.num_cut_words += 1
        yield Segment(text[start:end], start == 0, label)
        start = end
    yield Segment(text[start:], start == 0, label)


def clean(text: str, report: Report) -> str:
    """The text without NULs and without lone surrogates, which stand for bytes that were no text."""
    if "\0" in text:
        report.num_nuls += text.count("\0")
        text = text.replace("\0", " ")
    if _SURROGATE.search(text):
        text, times = _SURROGATE.subn("\ufffd", text)
        report.num_invalid_bytes += times
    return text


def _segments(
    path: Path, root: Path, options: Options, report: Report, moved: Callable[[int], None]
) -> Iterator[Segment]:
    ending, by_folder = _ending(path), options.labels == "folder"
    folder = path.relative_to(root).parts[0] if by_folder and path.parent != root else None
    if ending == ".parquet":
        yield from _rows(
            parquet_rows(path, options.text_column, None if by_folder else options.labels), options, folder, report
        )
        return
    with path.open("rb") as raw:
        text = _characters(raw, path, options.encoding, report, moved)
        if ending in (".jsonl", ".ndjson"):
            yield from _rows(json_rows(text, report), options, folder, report)
        elif ending in (".csv", ".tsv"):
            yield from _rows(csv_rows(text, "\t" if ending == ".tsv" else ","), options, folder, report)
        elif options.labels is not None and not by_folder:
            raise ValueError(f"`labels` must be 'folder' for plain text such as `{path}`, but is {options.labels!r}.")
        else:
            yield from _documents(text, options.document, folder, report)


def _ending(path: Path) -> str:
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


def _documents(chunks: Iterator[str], document: str, label: str | None, report: Report) -> Iterator[Segment]:
    """Plain text as documents: the file, or its paragraphs or lines."""
    rest, first = "", True
    for chunk in chunks:
        rest += chunk
        if document != "file":
            *whole, rest = _SEPARATOR[document].split(rest)
            for text in whole:
                # The tail of a document whose beginning was given out before may be empty, others may not.
                if text.strip() or not first:
                    segments = cut(text, label, report)
                    yield next(segments)._replace(first=first)
                    yield from segments
                first = True
        while len(rest) > 2 * SEGMENT:  # never to the end, where a separator may go on
            end = _blank(rest, 0, SEGMENT)
            report.num_cut_words += end is None
            yield Segment(rest[: end or SEGMENT], first, label)
            rest, first = rest[end or SEGMENT :], False
    if rest.strip():
        segments = cut(rest, label, report)
        yield next(segments)._replace(first=first)
        yield from segments


def _blank(text: str, start: int, end: int) -> int | None:
    """The last blank in the second half of ``text[start:end]``; None: there is none."""
    place = max(text.rfind(blank, (start + end) // 2, end) for blank in " \n\t")
    return place if place > 0 else None


def _rows(rows: Iterator[Row], options: Options, folder: str | None, report: Report) -> Iterator[Segment]:
    """A document per row."""
    text_column = label_column = None
    for row in rows:
        if text_column is None:
            text_column = column_of(row, "text_column", options.text_column)
            if options.labels not in (None, "folder"):
                label_column = column_of(row, "labels", options.labels)
        text = row.get(text_column)
        if not isinstance(text, str):
            report.num_unreadable_rows += 1
            continue
        label = folder if label_column is None else row.get(label_column)
        yield from cut(clean(text, report), None if label is None else str(label), report)


_SURROGATE = re.compile("[\ud800-\udfff]")
_SEPARATOR = {"line": re.compile("\n"), "paragraph": re.compile(r"\n[ \t]*\n\s*")}
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
