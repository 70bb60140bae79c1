"""Any folder of audio files, whatever their kinds, rates, channels and lengths, damaged ones included."""

from __future__ import annotations

from typing import Any, Literal

from unmask.data import FolderSource, TableFormat
from unmask_audio.data.module import AudioData
from unmask_audio.data.reading import EXTENSIONS
from unmask_audio.data.segments import SegmentSource


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
        table: a CSV, TSV, JSON or Parquet file, as `unmask.data.tables` reads them, with a row for each file, found as
            `unmask.data.file_table` tells.
        file_column: its column of files: names, paths below ``folder``, or longer ones; with or without ending.
        label_column: its column of labels, or several columns, of which ``label_kind`` makes one label; None, where its
            rows are segments: they have no labels.
        group_column: a column that becomes a key of the samples, likewise; None: none does.
        label_kind: what labels are taken for, see `unmask.data.labels`: ``class``, ``multi-label``, ``number`` or
            ``numbers``.
        label_separator: between several labels; None: the first of comma, semicolon and bar that there is.
        table_format: how the table is written, where the rules of `unmask.data.tables` do not fit.
        start_column: where each row of the table is a segment of a file, its column of starts in seconds; a file may
            have many rows then. None: each row is a whole file. `unmask_audio.data.segments` says how segments are
            held out.
        end_column: its column of ends; given where ``start_column`` is.

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
        label_column: str | list[str] | None = "label",
        group_column: str | None = None,
        label_kind: Literal["class", "multi-label", "number", "numbers"] = "class",
        label_separator: str | None = None,
        table_format: TableFormat | None = None,
        start_column: str | None = None,
        end_column: str | None = None,
        val_ratio: float = 0.1,
        **shared: Any,
    ) -> None:
        if (start_column is None) != (end_column is None):
            raise ValueError(
                f"`start_column` and `end_column` must be given together, but are {start_column!r} and {end_column!r}."
            )
        if label_column is None and start_column is None and labels == "table":
            raise ValueError("`label_column` must name a column of `table`, but is None; nearest: 'label'.")
        given: dict[str, Any] = {
            "folder": folder, "endings": EXTENSIONS, "val_folder": val_folder, "labels": labels, "pattern": pattern,
            "table": table, "file_column": file_column, "label_column": label_column or "label",
            "group_column": group_column, "label_kind": label_kind, "label_separator": label_separator,
            "table_format": table_format, "what": "audio files",
        }  # fmt: skip
        source: FolderSource = (
            FolderSource(**given)
            if start_column is None or end_column is None
            else SegmentSource(
                **given, start_column=start_column, end_column=end_column, unlabelled=label_column is None,
                val_ratio=val_ratio,
            )
        )  # fmt: skip
        super().__init__(source=source, val_ratio=val_ratio, **shared)
