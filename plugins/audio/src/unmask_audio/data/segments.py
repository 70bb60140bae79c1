"""Segments of long recordings: a table gives a file, a start and an end in each row, and perhaps labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask.data import (
    File,
    FileTable,
    Findings,
    FolderSource,
    Found,
    Item,
    TableFormat,
    Unreadable,
    held_out,
    label_of,
    labels_of,
    open_table,
)
from unmask_audio.data.reading import Segment, read_header

SLACK = 0.1
"""Share of a file's length that a segment may end after it: lengths are often rounded."""
NO_SEGMENT = "rows of `table` have no start below their end, in seconds, and are left out"
TWICE = "rows of `table` are there twice, and count once"
APART = "recording has segments to train and to validate on, the latter at its end"
ACROSS = "segments overlap with those to validate on, and are left out"


@dataclass
class SegmentSource(FolderSource):
    """Each row of a table is an item: a part of one of the files.

    Recordings are held out whole; of a single one, the segments at its end. Seconds may be written as numbers, as
    ``m:s`` or as ``h:m:s``.

    Args:
        start_column: of the table: where a segment begins, in seconds.
        end_column: where it ends.
        unlabelled: the table has no labels.
        val_ratio: share of recordings, or of a single recording's segments, that is held out where there is no
            ``val_folder``.

    Raises:
        ValueError: ``labels`` is not ``table``; in `read`, a table without a row that gives a segment of a file, or
            with segments most of which end after their files do.

    Further arguments are those of `FolderSource`.
    """

    start_column: str = "start"
    end_column: str = "end"
    unlabelled: bool = False
    val_ratio: float = 0.1

    def __post_init__(self) -> None:
        if self.labels != "table":
            raise ValueError(
                f"`labels` must be 'table' where `start_column` and `end_column` are given, but is {self.labels!r}."
            )
        super().__post_init__()

    def read(self, findings: Findings) -> Found:
        train = self.files("folder", self.folder, findings)
        val = None if self.val_folder is None else self.files("val_folder", self.val_folder, findings)
        items, cells = self._items([*train, *(val or [])], findings)
        if not items:
            raise ValueError(f"`table` must give segments of files in {self.folder}, but gives none.")
        _check_seconds([item.content for item in items])
        classes: list[str] = []
        if not self.unlabelled:
            columns = [] if isinstance(self.label_column, str) else self.label_column
            holder = f"{', '.join(columns) or f'`{self.label_column}`'} of `table`"
            labels, classes = labels_of(
                cells, self.label_kind, holder, findings, "segment", columns, self.label_separator
            )
            items = [item._replace(label=label) for item, label in zip(items, labels, strict=True)]
        if val is not None:
            paths = {path for path, _ in val}
            parts = [[item for item in items if (item.content.path in paths) is inside] for inside in (False, True)]
            return Found(parts[0], parts[1], classes)
        return Found(*self._held_out(items, findings), classes)

    def _items(self, files: Sequence[File], findings: Findings) -> tuple[list[Item], list[Any]]:
        """Segments in the order of the table, and the cells that hold their labels."""
        own, form = Path(str(self.table)).expanduser(), self.table_format or TableFormat()
        column = self.file_column
        rows = FileTable(own, column, {"file_column": column}, findings, form).of(files)
        whose: dict[Any, File] = {}
        for file, row in zip(files, rows, strict=True):
            if row is not None and whose.setdefault(row[column], file) != file:
                raise ValueError(
                    f"`table` must tell files apart, but `{row[column]}` of {own.name} may be "
                    f"{whose[row[column]][0]} or {file[0]}; write their endings."
                )
        items: list[Item] = []
        cells: list[Any] = []
        seen: set[tuple[Segment, str]] = set()
        with open_table(own, Findings(), form) as table:  # `FileTable` has told what is odd about it
            begin, end = (table.column(option, getattr(self, option)) for option in ("start_column", "end_column"))
            labels = [] if self.unlabelled else [self.label_column] if isinstance(self.label_column, str) else []
            several = [] if self.unlabelled or labels else list(self.label_column)
            for name in (*labels, *several):
                table.column("label_column", name)
            group = None if self.group_column is None else table.column("group_column", self.group_column)
            for number, row in enumerate(table.rows, 1):
                word = row[column]
                known = whose.get(word.strip() if isinstance(word, str) else word)
                if known is None:
                    continue
                path, inner = known
                start_s, end_s = seconds_of(row[begin]), seconds_of(row[end])
                if start_s is None or end_s is None or not 0 <= start_s < end_s:
                    findings.note(NO_SEGMENT, f"row {number:,} ({row[begin]!r} to {row[end]!r})")
                    continue
                cell = row[labels[0]] if labels else [row[name] for name in several]
                segment = Segment(path, start_s, end_s)
                name = f"{inner.as_posix()}@{start_s:.10g}-{end_s:.10g}"
                if (segment, repr(cell)) in seen:
                    findings.note(TWICE, name)
                    continue
                seen.add((segment, repr(cell)))
                groups = {} if group is None else {group: label_of(row[group]) or ""}
                items.append(Item(name, segment, None, groups))
                cells.append(cell)
        return items, cells

    def _held_out(self, items: list[Item], findings: Findings) -> tuple[list[Item], list[Item] | None]:
        if not self.val_ratio or len(items) < 2:
            return items, None
        recordings: dict[Path, list[Item]] = defaultdict(list)
        for item in items:
            recordings[item.content.path].append(item)
        if len(recordings) > 1:
            _, left = held_out(len(recordings), self.val_ratio)
            own = {list(recordings)[place] for place in left}
            return [one for one in items if one.content.path not in own], [
                one for one in items if one.content.path in own
            ]
        order = sorted(items, key=lambda item: (item.content.start_s, item.content.end_s))
        count = min(max(round(len(order) * self.val_ratio), 1), len(order) - 1)
        val = order[-count:]
        train = [item for item in order[:-count] if item.content.end_s <= val[0].content.start_s]
        findings.note(APART, items[0].content.path.name)
        for item in order[:-count] if train else ():
            findings.note(ACROSS, item.name, int(item.content.end_s > val[0].content.start_s))
        return train or order[:-count], val


def _check_seconds(segments: Sequence[Segment]) -> None:
    """Refuses a table most of whose segments end far after their files: its numbers are no seconds of these files."""
    lengths: dict[Path, float] = {}
    beyond: list[Segment] = []
    known = 0
    for segment in segments:
        if segment.path not in lengths:
            lengths[segment.path] = _length_s(segment.path)
        known += lengths[segment.path] > 0
        if segment.end_s > (1 + SLACK) * lengths[segment.path] > 0:
            beyond.append(segment)
    if 2 * len(beyond) > known:
        one = beyond[0]
        raise ValueError(
            f"`start_column` and `end_column` must be seconds from the beginning of a file, but {len(beyond):,} of "
            f"{known:,} segments end after theirs, such as {one.start_s:g} to {one.end_s:g} of {one.path.name}, which "
            f"is {lengths[one.path]:g} s long; divide milliseconds by 1,000 or samples by the file's rate, or, where "
            "files were cut already, leave both options out."
        )


def _length_s(path: Path) -> float:
    """Of a file; 0: it cannot be read, which is told elsewhere."""
    try:
        header = read_header(lambda: path)
    except (Unreadable, OSError):
        return 0.0
    return header.num_samples / header.sample_rate


def seconds_of(cell: Any) -> float | None:
    """Seconds of a cell: a number, ``m:s`` or ``h:m:s``; None: it is neither."""
    words = (label_of(cell) or "").split(":")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return None
    if len(numbers) > 3 or not all(number >= 0 for number in numbers):
        return None
    total = 0.0
    for number in numbers:
        total = 60 * total + number
    return total
