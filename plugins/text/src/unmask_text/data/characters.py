"""The characters of a file, in chunks: by their encoding, unpacked, and only where the file is text."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from unmask.data import open_gzip
from unmask_text.data.report import Report

PLAIN = (".txt", ".text", ".md", ".rst")
JSON = (".jsonl", ".ndjson", ".json")
TABLES = (*JSON, ".csv", ".tsv", ".parquet")
ENDINGS = (*PLAIN, *TABLES)
CHUNK = 2**20
HEAD = 2**13
"""Bytes that tell whether a file is text."""


class NotTextError(ValueError):
    """A file holds no text.

    Args:
        reason: what it holds instead.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"`{path}` must be text, but {reason}.")
        self.reason = reason


def ending_of(path: Path) -> str:
    """The ending, in lower case and without ``.gz``; empty where there is none."""
    name = path.name.lower().removesuffix(".gz")
    return "." + name.rpartition(".")[2] if "." in name else ""


def characters(raw: BinaryIO, path: Path, encoding: str, report: Report, moved: Callable[[int], None]) -> Iterator[str]:
    """Text in chunks, line ends as ``\\n``."""
    stream: Any = open_gzip(raw, str(path)) if path.name.lower().endswith(".gz") else raw
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


def clean(text: str, report: Report) -> str:
    """The text without NULs and without lone surrogates, which stand for bytes that were no text."""
    if "\0" in text:
        report.num_nuls += text.count("\0")
        text = text.replace("\0", " ")
    if _SURROGATE.search(text):
        text, times = _SURROGATE.subn("\ufffd", text)
        report.num_invalid_bytes += times
    return text


_OBJECT = re.compile(rb'\s*(\[\s*)?\{\s*"(?:[^"\\]|\\.)*"\s*:')
"""How JSON begins: an object, or an array of them."""
_SURROGATE = re.compile("[\ud800-\udfff]")
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
