"""Any folder of audio files, whatever their kinds, rates, channels and lengths, damaged ones included."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from unmask.data import Sample
from unmask.nearest import nearest, quoted
from unmask_audio.data.augment import Name
from unmask_audio.data.clips import Recording
from unmask_audio.data.module import AudioData, Sources
from unmask_audio.data.reading import EXTENSIONS


class AudioFilesData(AudioData):
    """Sounds from the files in a folder and all folders below it: WAV, FLAC, OGG, MP3, AIFF and others.

    How files become waves is said in `unmask_audio.data.reading`. Files that cannot be used are left out, counted and
    named.

    Args:
        folder: the folder.
        val_folder: another folder, for validation; None: a fixed random part of ``folder``.
        labels: ``folder``: the class is the first folder below ``folder``, when every file lies in one; ``pattern``;
            ``table``; None: no labels. Files that the pattern or table says nothing of have none.
        pattern: a regular expression, searched for in a file's path below ``folder``, with a named group ``label``;
            other named groups become keys of the samples, for ``unmask probe --groups``:
            ``(?P<label>\\d)_(?P<speaker>[a-z]+)_``.
        table: a CSV file; paths in it are below ``folder``, with or without ending, or names of files.
        file_column: its column of files.
        label_column: its column of classes.
        group_column: a column that becomes a key of the samples, likewise; None: none does.

    Raises:
        ValueError: in `setup`, a missing or empty folder, a pattern or table that does not fit; also as `AudioData`.

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
        sample_rate: int = 16_000,
        seconds: float = 10.0,
        min_seconds: float = 0.1,
        augment: tuple[Name, ...] | Callable[[Sample], Sample] = (),
        val_ratio: float = 0.1,
        batch_size: int = 64,
        num_workers: int | None = None,
        val_batch_size: int | None = None,
        drop_last: bool = True,
    ) -> None:
        super().__init__(
            sample_rate, seconds, min_seconds, augment, val_ratio, batch_size, num_workers, val_batch_size, drop_last
        )
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
        folders = [Path(name).expanduser() for name in (self.folder, self.val_folder) if name is not None]
        found = []
        for folder in folders:
            paths, num_others = find_sounds(folder)
            self.report.num_other_files += num_others
            found.append([(path, path.relative_to(folder)) for path in paths])
        told = [self._told_of([inner for _, inner in own]) for own in found]  # of each part, of each file
        words = {one["label"] for own in told for one in own if one.get("label")}
        if self.labels == "folder" and not all(one.get("label") for own in told for one in own):
            words = set()  # files beside folders: the folders are no classes
        if self.labels in ("pattern", "table") and not words:
            raise ValueError(f"`{self.labels}` must tell the class of a file in {self.folder}, but tells none.")
        classes = sorted(words, key=lambda word: (len(word), word) if word.isdigit() else (0, word))
        ids = {word: number for number, word in enumerate(classes)}
        parts = [
            [
                Recording(
                    str(inner), partial(_same, path), ids.get(one.get("label", "")),
                    {name: word for name, word in one.items() if name != "label"},
                )
                for (path, inner), one in zip(own, of_own, strict=True)
            ]
            for own, of_own in zip(found, told, strict=True)
        ]  # fmt: skip
        return Sources(parts[0], parts[1] if len(parts) > 1 else None, classes)

    def _told_of(self, paths: list[Path]) -> list[Mapping[str, str]]:
        """What is known of each file: its ``label`` where it has one, and its groups."""
        if self.labels == "folder":
            return [{"label": path.parts[0]} if len(path.parts) > 1 else {} for path in paths]
        if self.pattern is not None:
            groups = [name for name in self.pattern.groupindex if name != "label"]
            matches = [self.pattern.search(path.as_posix()) for path in paths]
            return [
                {name: (match and match[name]) or "" for name in [*groups, *(["label"] if match else [])]}
                for match in matches
            ]
        if self.table is None:
            return [{} for _ in paths]
        rows, group = _table(Path(self.table).expanduser(), *self.columns), self.columns[2]
        none: Mapping[str, str] = {} if group is None else {group: ""}
        return [
            next((rows[key] for key in (path.as_posix(), path.with_suffix("").as_posix(), path.name, path.stem)
                  if key in rows), none)
            for path in paths
        ]  # fmt: skip


def find_sounds(root: Path) -> tuple[list[Path], int]:
    """Audio files below ``root``, sorted, and the number of other files.

    Raises:
        ValueError: no such folder, or no such file in it.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        parent = root.absolute().parent
        siblings = [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
        near = nearest(root.name, siblings, 1)
        hint = f" Nearest: {root.parent / near[0]}." if near else ""
        raise ValueError(f"`folder` must be a folder of audio files, but {root} {what}.{hint}")
    files = sorted(Path(top) / name for top, _, names in os.walk(root, followlinks=True) for name in names)
    sounds = [path for path in files if path.suffix.lower() in EXTENSIONS]
    if not sounds:
        held = f"{len(files)} other files" if files else "nothing"
        raise ValueError(f"`folder` must hold audio files ({', '.join(EXTENSIONS)}), but {root} holds {held}.")
    return sounds, len(files) - len(sounds)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"`pattern` must be a regular expression, but {pattern!r} is none: {error}.") from error
    if "label" not in compiled.groupindex:
        raise ValueError(f"`pattern` must have a group named label, `(?P<label>...)`, but is {pattern!r}.")
    return compiled


def _table(path: Path, file: str, label: str, group: str | None) -> dict[str, dict[str, str]]:
    """Rows by the file that they are of."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"`table` must be a CSV file, but {path} cannot be read as one: {error}.") from error
    columns = list(reader.fieldnames or [])
    for option, name in (("file_column", file), ("label_column", label), ("group_column", group)):
        if name is not None and name not in columns:
            near = nearest(name, columns) or columns
            raise ValueError(f"`{option}` must name a column of {path}, but is {name!r}; nearest: {quoted(near)}.")
    kept = {"label": label} | ({} if group is None else {group: group})
    return {row[file].replace("\\", "/"): {key: row[column] or "" for key, column in kept.items()} for row in rows}


def _same(path: Path) -> Path:
    return path
