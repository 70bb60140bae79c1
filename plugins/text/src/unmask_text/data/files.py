"""Text from files and folders: plain text, JSON, CSV and Parquet."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unmask.data import CLASS, OTHER, Findings, TableFormat, check_label_options
from unmask_text.data.reading import Found, Options, Segment, files_of, read_file
from unmask_text.data.report import Report
from unmask_text.data.sources import Moved, TextSource
from unmask_text.data.text import TextData


class TextFilesData(TextData):
    """Documents from ``.txt .text .md .rst .jsonl .ndjson .json .csv .tsv .parquet`` files, also gzipped ones.

    A row of a table is a document; of plain text, ``document`` says what is one. JSON has an object per line, an array
    of objects, or one object. Files given by name are read whatever their ending: as plain text, when it is none of
    those and they are no other kind of file. They may be larger than memory. Tables are read by the rules of
    `unmask.data.read_table`, folders by those of `unmask.data.find_files`. What is left out is counted and told before
    training.

    Args:
        paths: files and folders (with all folders below, and those that links lead to), to pretrain on.
        val_paths: others, for validation; None: a fixed random part of ``paths``.
        probe_paths: labelled ones that probes are fitted on, where ``paths`` have no labels of their own.
        probe_test_paths: labelled ones that probes are scored on; given together with ``probe_paths``.
        document: ``file``, ``paragraph`` (blank lines between) or ``line``, of plain text.
        text_column: column of tables; None: ``text``, or the only one. ``meta.body.text`` is inside of others; objects
            of an array on the way to it are a document each.
        labels: column with the class, empty where a document has none, or ``folder``: the first folder below the path
            given; None: no labels.
            Where ``probe_paths`` are given, it tells of them, and ``paths`` need none.
        label_kind: what the column of labels is taken for: ``class``, ``multi-label`` (words with a comma, semicolon or
            bar between them, or a list), ``number`` or ``numbers`` (likewise), see `unmask.data.labels_of`.
        label_separator: between several labels of a document; None: the first of comma, semicolon and bar that there
            is.
        table_format: how CSV and TSV are written, where the rules of `unmask.data.tables` do not fit.
        encoding: of all files, tables too where ``table_format`` names none; a byte-order mark counts more.
        name_column: column of tables with what a document is called, such as the file that it is a caption of; several
            may have one name. None: ``reviews.csv:17``.

    Raises:
        ValueError: a value outside its range; in `setup`, no such path or column, no text, a table whose quotes do not
            fit, JSON that is none of the three kinds, a file given by name that is no text (an archive, a PDF, a pipe).

    Further arguments are those of `TextData`.
    """

    def __init__(
        self,
        paths: str | list[str],
        val_paths: str | list[str] | None = None,
        probe_paths: str | list[str] | None = None,
        probe_test_paths: str | list[str] | None = None,
        document: Literal["file", "paragraph", "line"] = "file",
        text_column: str | None = None,
        labels: str | None = None,
        label_kind: Literal["class", "multi-label", "number", "numbers"] = "class",
        label_separator: str | None = None,
        table_format: TableFormat | None = None,
        encoding: str = "utf-8",
        name_column: str | None = None,
        **shared: Any,
    ) -> None:
        source = TextFilesSource(
            paths, val_paths=val_paths, probe_paths=probe_paths, probe_test_paths=probe_test_paths, document=document,
            text_column=text_column, labels=labels, label_kind=label_kind, label_separator=label_separator,
            table_format=table_format, encoding=encoding,
            name_column=name_column,
        )  # fmt: skip
        super().__init__(source=source, **shared)
        self.table_format = table_format

    def carried(self) -> dict[str, Any]:
        return super().carried() | {"table_format": self.table_format}  # texts themselves are read by it


@dataclass
class TextFilesSource(TextSource):
    """Those files; the fields are options of `TextFilesData`."""

    paths: str | list[str]
    val_paths: str | list[str] | None = None
    probe_paths: str | list[str] | None = None
    probe_test_paths: str | list[str] | None = None
    document: Literal["file", "paragraph", "line"] = "file"
    text_column: str | None = None
    labels: str | None = None
    label_kind: Literal["class", "multi-label", "number", "numbers"] = "class"
    label_separator: str | None = None
    table_format: TableFormat | None = None
    encoding: str = "utf-8"
    name_column: str | None = None

    def __post_init__(self) -> None:
        if self.document not in ("file", "paragraph", "line"):
            raise ValueError(f"`document` must be 'file', 'paragraph' or 'line', but is {self.document!r}.")
        check_label_options(self.label_kind, separator=self.label_separator)
        if self.label_kind != CLASS and self.labels in (None, "folder"):
            raise ValueError(
                f"`labels` must name a column where `label_kind` is {self.label_kind!r}, but is {self.labels!r}."
            )
        try:
            of_text = codecs.lookup(self.encoding)._is_text_encoding
        except LookupError as error:
            raise ValueError(f"`encoding` must be one that Python knows, but is {self.encoding!r}.") from error
        if not of_text:
            raise ValueError(f"`encoding` must be one of text, such as utf-8, but is {self.encoding!r}.")
        if (self.probe_paths is None) != (self.probe_test_paths is None):
            raise ValueError("`probe_paths` and `probe_test_paths` must be given together.")
        if self.probe_paths is not None and self.labels is None:
            raise ValueError("`labels` must say where the classes of `probe_paths` are, but is None.")

    def parts(self) -> dict[str, dict[str, Any]]:
        parts: dict[str, dict[str, Any]] = {}
        for name, option in _OPTIONS.items():
            given = getattr(self, option)
            if given is not None:
                findings = Findings()
                files = files_of([given] if isinstance(given, str) else given, findings, option)
                labels = self.labels if self.probe_paths is None or name.startswith("probe") else None
                parts[name] = {
                    "files": [
                        [str(one.path.absolute()), str(one.root.absolute()), status.st_size, status.st_mtime_ns]
                        for one in files
                        for status in [one.path.stat()]
                    ],
                    "options": self._options(labels),
                    "num_ignored_files": findings.count(OTHER),
                    "named": [one.named for one in files],
                    "names": [one.name for one in files],
                    "findings": findings.as_dict(),
                }
        _note_shared(parts)
        return parts

    def _options(self, labels: str | None) -> dict[str, Any]:
        options = Options(self.document, self.text_column, labels, self.encoding, table_format=self.table_format)
        options = options._replace(name_column=self.name_column)
        if labels is not None:
            options = options._replace(label_kind=self.label_kind, label_separator=self.label_separator)
        return options.plain()

    def read(self, part: dict[str, Any], report: Report, moved: Moved) -> Iterator[Segment]:
        report.findings.add(Findings.of(part["findings"]))
        total = max(sum(size for _, _, size, _ in part["files"]), 1)
        done = 0
        for (path, root, size, _), named, name in zip(part["files"], part["named"], part["names"], strict=True):
            so_far = done
            yield from read_file(
                Found(Path(path), Path(root), named, name), Options.of(part["options"]), report,
                lambda read: moved((so_far + read) / total),  # noqa: B023  called before the next file is opened
            )  # fmt: skip
            done += size
            moved(done / total)


_OPTIONS = {"train": "paths", "val": "val_paths", "probe_train": "probe_paths", "probe_test": "probe_test_paths"}


def _note_shared(parts: dict[str, dict[str, Any]]) -> None:
    """Notes files that are trained on, and validated or scored on as well."""
    for part, other in (("val", "train"), ("probe_test", "probe_train")):
        if part in parts and other in parts:
            known = {os.path.realpath(path) for path, *_ in parts[other]["files"]}
            shared = [path for path, *_ in parts[part]["files"] if os.path.realpath(path) in known]
            findings = Findings.of(parts[part]["findings"])
            for path in shared:
                findings.note(f"files of `{_OPTIONS[part]}` are in `{_OPTIONS[other]}` as well", path)
            parts[part]["findings"] = findings.as_dict()
