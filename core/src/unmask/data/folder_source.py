"""The files of a folder as a source, with labels by folders, by a pattern in their paths, or by a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unmask.data.file_table import FileTable
from unmask.data.findings import Findings
from unmask.data.folders import find_files
from unmask.data.labels import check_single, label_of, ordered
from unmask.data.sources import Found, Item, Source

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
        table: a CSV or TSV file, as `unmask.data.tables` reads them, with a row for each file, found as
            `unmask.data.file_table` tells.
        file_column: its column of files.
        label_column: its column of classes, one for each file.
        group_column: its column that becomes a group of the item; None: none does.
        by_value: order classes that are whole numbers by their value; False: by their letters, as torchvision does.
        what: the files, in a message.

    Raises:
        ValueError: ``labels`` without its pattern or table; in `read`, a missing or empty folder, a pattern or table
            that does not fit, a table whose rows may be of several files or that has several labels for one.
    """

    folder: str
    endings: tuple[str, ...]
    val_folder: str | None = None
    labels: Literal["folder", "pattern", "table"] | None = "folder"
    pattern: str | None = None
    table: str | None = None
    file_column: str = "file"
    label_column: str = "label"
    group_column: str | None = None
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

    def read(self, findings: Findings) -> Found:
        train = self.files("folder", self.folder, findings)
        val = None if self.val_folder is None else self.files("val_folder", self.val_folder, findings)
        files = [*train, *(val or [])]
        words = self._words(files, findings)
        classes = (ordered if self.by_value else sorted)({one["label"] for one in words if "label" in one})
        beside = [inner.as_posix() for _, inner in files if len(inner.parts) == 1]
        if self.labels == "folder" and classes and beside:
            classes, words = [], [{} for _ in files]
            for name in beside:
                findings.note(BESIDE, name)
        if self.labels in ("pattern", "table") and not classes:
            raise ValueError(f"`{self.labels}` must tell the class of a file in {self.folder}, but tells none.")
        if self.labels == "table":
            check_single(classes, f"`{self.label_column}` of `table`", findings, "file")
        trained_on = {path.resolve() for path, _ in train}
        for path, inner in val or ():
            findings.note(SEEN, inner.as_posix(), int(path.resolve() in trained_on))
        items = [
            Item(inner.as_posix(), path, one.pop("label", None), one)
            for (path, inner), one in zip(files, words, strict=True)
        ]
        return Found(items[: len(train)], None if val is None else items[len(train) :], classes)

    def files(self, option: str, folder: str, findings: Findings) -> list[File]:
        """The files of the folder that ``option`` names. A subclass may refuse some."""
        root = Path(folder).expanduser()
        return [(path, path.relative_to(root)) for path in find_files(root, self.endings, findings, self.what, option)]

    def _words(self, files: list[File], findings: Findings) -> list[dict[str, str]]:
        """What is known of each file: its ``label`` where it has one, and its groups."""
        if self.labels == "folder":
            return [{"label": inner.parts[0]} if len(inner.parts) > 1 else {} for _, inner in files]
        if self.pattern is not None:
            pattern = _compiled(self.pattern)
            matches = [pattern.search(inner.as_posix()) for _, inner in files]
            return [_known({name: match and match[name] for name in pattern.groupindex}) for match in matches]
        if self.table is not None:
            group = self.group_column
            columns = {"label_column": self.label_column} | ({} if group is None else {"group_column": group})
            rows = FileTable(Path(self.table).expanduser(), self.file_column, columns, findings).of(files)
            keys = {"label": self.label_column} | ({} if group is None else {group: group})
            return [_known({key: (row or {}).get(column) for key, column in keys.items()}) for row in rows]
        return [{} for _ in files]


def _known(given: Mapping[str, str | None]) -> dict[str, str]:
    """Words by name: a blank label is none, and a group that is not known is empty."""
    return {name: word or "" for name, word in given.items() if name != "label" or label_of(word) is not None}


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"`pattern` must be a regular expression, but {pattern!r} is none: {error}.") from error
    if "label" not in compiled.groupindex:
        raise ValueError(f"`pattern` must have a group named label, `(?P<label>...)`, but is {pattern!r}.")
    return compiled
