"""The files of a folder as a source, with labels by folders, by a pattern in their paths, or by a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unmask.data.file_table import FileTable
from unmask.data.findings import Findings
from unmask.data.folders import find_files
from unmask.data.labels import CLASS, MULTI_LABEL, Label, check_label_options, label_of, labels_of, ordered
from unmask.data.sources import Found, Item, Source
from unmask.data.tables import TableFormat

BESIDE = "files lie beside the folders, which are therefore no classes"
SEEN = "files to validate on are also among those to train on"

File = tuple[Path, Path]
"""A path, and the same path below the folder."""


@dataclass
class FolderSource(Source):
    """The files in a folder and in all folders below it; an item gives its path.

    `unmask.data.folders` says which files count.

    Args:
        folder: the folder.
        endings: of files, in lower case, with the dot; other files are left out, counted and named.
        val_folder: another folder, for validation; None: the data module holds out a part of ``folder``.
        labels: ``folder``: the class is the first folder below ``folder``, when every file lies in one; ``pattern``;
            ``table``; None: no labels. Files that the pattern or table says nothing of, or nothing but blanks, have
            none.
        pattern: a regular expression, searched for in a file's path below ``folder``, with a named group ``label``;
            other named groups become groups of the item.
        table: a CSV, TSV, JSON or Parquet file, as `unmask.data.tables` reads them, with a row for each file, found as
            `unmask.data.file_table` tells.
        file_column: its column of files.
        label_column: its column of labels, or several columns, of which ``label_kind`` makes one label. Where that is
            ``multi-label``, a file may have several rows.
        group_column: its column that becomes a group of the item; None: none does.
        label_kind: what labels are taken for, see `unmask.data.labels`: ``class``, ``multi-label``, ``number`` or
            ``numbers``.
        label_separator: between several labels of a file; None: the first of comma, semicolon and bar that there is.
        table_format: how the table is written, where the rules do not fit.
        by_value: order classes that are whole numbers by their value; False: by their letters, as torchvision does.
        what: the files, in a message.

    Raises:
        ValueError: ``labels`` without its pattern or table, another kind of labels, several columns of one label, an
            option that nothing reads; in `read`, a missing or empty folder, a pattern or table that does not fit, a
            table whose rows may be of several files or that has several labels for one.
    """

    folder: str
    endings: tuple[str, ...]
    val_folder: str | None = None
    labels: Literal["folder", "pattern", "table"] | None = "folder"
    pattern: str | None = None
    table: str | None = None
    file_column: str = "file"
    label_column: str | list[str] = "label"
    group_column: str | None = None
    label_kind: Literal["class", "multi-label", "number", "numbers"] = "class"
    label_separator: str | None = None
    table_format: TableFormat | None = None
    by_value: bool = True
    what: str = "files"

    def __post_init__(self) -> None:
        if self.labels not in ("folder", "pattern", "table", None):
            raise ValueError(f"`labels` must be 'folder', 'pattern', 'table' or None, but is {self.labels!r}.")
        for name, given in (("pattern", self.pattern), ("table", self.table)):
            if (self.labels == name) != (given is not None):
                raise ValueError(
                    f"`{name}` must be given exactly where `labels` is '{name}', but `labels` is {self.labels!r} "
                    f"and `{name}` {given!r}."
                )
        if self.pattern is not None:
            _compiled(self.pattern)
        check_label_options(self.label_kind, self.label_column, self.label_separator)
        for name, unread, where in (
            ("label_kind", self.labels is None and self.label_kind != CLASS, "where `labels` is None"),
            ("table_format", self.labels != "table" and self.table_format is not None, "without a table of labels"),
        ):
            if unread:
                raise ValueError(f"`{name}` must be left out {where}, but is {getattr(self, name)!r}.")

    def read(self, findings: Findings) -> Found:
        train = self.files("folder", self.folder, findings)
        val = None if self.val_folder is None else self.files("val_folder", self.val_folder, findings)
        files = [*train, *(val or [])]
        words = self._words(files, findings)
        beside = [inner.as_posix() for _, inner in files if len(inner.parts) == 1]
        if self.labels == "folder" and beside and any("label" in one for one in words):
            words = [{} for _ in files]
            for name in beside:
                findings.note(BESIDE, name)
        columns = [] if isinstance(self.label_column, str) or self.labels != "table" else self.label_column
        holder = "The name of a folder" if self.labels == "folder" else f"`{self.labels}`"
        if self.labels == "table":
            holder = f"`{self.label_column}` of `table`" if not columns else f"{', '.join(columns)} of `table`"
        told = [one.pop("label", None) for one in words]
        if self.label_kind == CLASS and self.labels != "table":  # a folder may be called `a,b` and `b`
            labels: list[Label | None] = [label_of(one) for one in told]
            classes = (ordered if self.by_value else sorted)({one for one in map(label_of, told) if one is not None})
        else:
            labels, classes = labels_of(told, self.label_kind, holder, findings, "file", columns, self.label_separator)
            classes = classes if self.by_value or self.label_kind != CLASS else sorted(classes)
        if self.labels in ("pattern", "table") and not any(one is not None for one in labels):
            raise ValueError(f"`{self.labels}` must tell the label of a file in {self.folder}, but tells none.")
        trained_on = {path.resolve() for path, _ in train}
        for path, inner in val or ():
            findings.note(SEEN, inner.as_posix(), int(path.resolve() in trained_on))
        items = [
            Item(inner.as_posix(), path, label, groups)
            for (path, inner), label, groups in zip(files, labels, words, strict=True)
        ]
        return Found(items[: len(train)], None if val is None else items[len(train) :], classes)

    def files(self, option: str, folder: str, findings: Findings) -> list[File]:
        """The files of the folder that ``option`` names. A subclass may refuse some."""
        root = Path(folder).expanduser()
        return [(path, path.relative_to(root)) for path in find_files(root, self.endings, findings, self.what, option)]

    def _words(self, files: list[File], findings: Findings) -> list[dict[str, Any]]:
        """What is known of each file: its ``label`` where it has one, and its groups."""
        if self.labels == "folder":
            return [{"label": inner.parts[0]} if len(inner.parts) > 1 else {} for _, inner in files]
        if self.pattern is not None:
            pattern = _compiled(self.pattern)
            matches = [pattern.search(inner.as_posix()) for _, inner in files]
            return [_known({name: match and match[name] for name in pattern.groupindex}) for match in matches]
        if self.table is not None:
            group, column = self.group_column, self.label_column
            columns = {"label_column": column} | ({} if group is None else {"group_column": group})
            form = self.table_format or TableFormat()
            joined = column if self.label_kind == MULTI_LABEL and isinstance(column, str) else None
            table = FileTable(Path(self.table).expanduser(), self.file_column, columns, findings, form, joined)
            known = [] if group is None else [group]
            return [
                _known({name: None if row is None else row[name] for name in known})
                | ({} if row is None else {"label": _cells(row, column)})
                for row in table.of(files)
            ]
        return [{} for _ in files]


def _cells(row: Mapping[str, Any], column: str | list[str]) -> Any:
    return row[column] if isinstance(column, str) else [row[name] for name in column]


def _known(given: Mapping[str, Any]) -> dict[str, Any]:
    """A label as it stands, and groups as words: one that is not known is empty."""
    return {name: word if name == "label" else label_of(word) or "" for name, word in given.items()}


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"`pattern` must be a regular expression, but {pattern!r} is none: {error}.") from error
    if "label" not in compiled.groupindex:
        raise ValueError(f"`pattern` must have a group named label, `(?P<label>...)`, but is {pattern!r}.")
    return compiled
