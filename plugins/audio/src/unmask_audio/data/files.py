"""Any folder of audio files, whatever their kinds, rates, channels and lengths, damaged ones included."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from unmask.data import find_files, label_of
from unmask_audio.data.clips import Recording
from unmask_audio.data.labels import check_single, ordered
from unmask_audio.data.module import AudioData, Sources
from unmask_audio.data.reading import EXTENSIONS
from unmask_audio.data.table import FileTable

BESIDE = "files lie beside the folders, which are therefore no classes"
SEEN = "files to validate on are also among those to train on"


class AudioFilesData(AudioData):
    """Sounds from the files in a folder and all folders below it: WAV, FLAC, OGG, MP3, AIFF and others.

    How files become waves is said in `unmask_audio.data.reading`, and which files of a folder count in
    `unmask.data.folders`. Files that cannot be used are left out, counted and named.

    Args:
        folder: the folder.
        val_folder: another folder, for validation; None: a fixed random part of ``folder``.
        labels: ``folder``: the class is the first folder below ``folder``, when every file lies in one; ``pattern``;
            ``table``; None: no labels. Files that the pattern or table says nothing of, or nothing but blanks, have
            none.
        pattern: a regular expression, searched for in a file's path below ``folder``, with a named group ``label``;
            other named groups become keys of the samples, for ``unmask probe --groups``:
            ``(?P<label>\\d)_(?P<speaker>[a-z]+)_``.
        table: a CSV or TSV file, as `unmask.data.tables` reads them, with a row for each file, found as
            `unmask_audio.data.table` tells.
        file_column: its column of files: names, paths below ``folder``, or longer ones; with or without ending.
        label_column: its column of classes, one for each file.
        group_column: a column that becomes a key of the samples, likewise; None: none does.

    Raises:
        ValueError: in `setup`, a missing or empty folder, a pattern or table that does not fit, a table whose rows
            may be of several files or that has several labels for one; also as `AudioData`.

    Further arguments are those of `AudioData`.
    """

    def __init__(
        self,
        folder: str,
        val_folder: str | None = None,
        labels: Literal["folder", "pattern", "table"] | None = "folder",
        pattern: str | None = None,
        table: str | None = None,
        file_column: str = "file",
        label_column: str = "label",
        group_column: str | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if labels not in ("folder", "pattern", "table", None):
            raise ValueError(f"`labels` must be 'folder', 'pattern', 'table' or None, but is {labels!r}.")
        for name, given in (("pattern", pattern), ("table", table)):
            if (labels == name) != (given is not None):
                raise ValueError(
                    f"`{name}` must be given exactly where `labels` is '{name}', but `labels` is {labels!r} "
                    f"and `{name}` {given!r}."
                )
        self.folder = folder
        self.val_folder = val_folder
        self.labels = labels
        self.pattern = None if pattern is None else _compiled(pattern)
        self.table = table
        self.columns = (file_column, label_column, group_column)

    def sources(self) -> Sources:
        findings = self.report.findings
        found = [self._files(name) for name in ("folder", "val_folder") if getattr(self, name) is not None]
        train, val = found[0], found[1] if len(found) > 1 else []
        files = [*train, *val]
        told = self._told_of(files)
        classes = ordered(one["label"] for one in told if "label" in one)
        beside = [inner.as_posix() for _, inner in files if len(inner.parts) == 1]
        if self.labels == "folder" and classes and beside:
            classes = []
            for name in beside:
                findings.note(BESIDE, name)
        if self.labels in ("pattern", "table") and not classes:
            raise ValueError(f"`{self.labels}` must tell the class of a file in {self.folder}, but tells none.")
        if self.labels == "table":
            check_single(classes, f"`{self.columns[1]}` of `table`", findings)
        if val:
            own = {path.resolve() for path, _ in train}
            for path, inner in val:
                findings.note(SEEN, inner.as_posix(), int(path.resolve() in own))
        ids = {word: number for number, word in enumerate(classes)}
        made = [
            Recording(
                inner.as_posix(), partial(_same, path), ids.get(one.get("label", "")),
                {name: word for name, word in one.items() if name != "label"},
            )
            for (path, inner), one in zip(files, told, strict=True)
        ]  # fmt: skip
        return Sources(made[: len(train)], made[len(train) :] or None, classes)

    def _files(self, option: str) -> list[tuple[Path, Path]]:
        """Paths of the sounds in a folder, and the same below it."""
        folder = Path(getattr(self, option)).expanduser()
        paths = find_files(folder, EXTENSIONS, self.report.findings, "audio files", option)
        return [(path, path.relative_to(folder)) for path in paths]

    def _told_of(self, files: list[tuple[Path, Path]]) -> list[dict[str, str]]:
        """What is known of each file: its ``label`` where it has one, and its groups."""
        if self.labels == "folder":
            return [{"label": inner.parts[0]} if len(inner.parts) > 1 else {} for _, inner in files]
        if self.pattern is not None:
            names = list(self.pattern.groupindex)
            matches = [self.pattern.search(inner.as_posix()) for _, inner in files]
            return [_words({name: match and match[name] for name in names}) for match in matches]
        if self.table is not None:
            file, label, group = self.columns
            columns = {"label_column": label} | ({} if group is None else {"group_column": group})
            rows = FileTable(Path(self.table).expanduser(), file, columns, self.report.findings).of(files)
            keys = {"label": label} | ({} if group is None else {group: group})
            return [_words({key: (row or {}).get(column) for key, column in keys.items()}) for row in rows]
        return [{} for _ in files]


def _words(given: Mapping[str, str | None]) -> dict[str, str]:
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


def _same(path: Path) -> Path:
    return path
