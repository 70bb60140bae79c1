"""A table that tells of files: rows are found by the longest end of a path that they share with a file."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unmask.data.findings import Findings
from unmask.data.labels import label_of
from unmask.data.tables import TableFormat, open_table

Parts = tuple[str, ...]
Fit = tuple[bool, int]
"""Whether a row gives a file's path below the folder, and how many parts both share at their ends."""

UNKNOWN = "rows of `table` are of no file"
WITHOUT = "files have no row in `table`"
NAMELESS = "rows of `table` name no file"


class FileTable:
    """Rows by the file that they are of.

    A row is of a file where either path ends in the other: the row may name a file alone, with or without ending, give
    its path below the folder, or a longer one, even from another machine. Of several rows the one counts that gives
    the path below the folder, or that shares most with the file's path; a row is of the files that it fits best.

    Args:
        path: a CSV, TSV, JSON or Parquet file, as `unmask.data.tables` reads them.
        file_column: its column of files.
        columns: the columns to keep, by the option that names each; one option may name several.
        findings: is told of odd rows.
        form: how the table is written, where the rules do not fit.
        joined: a column whose cells become a list where a file has several rows; None: such rows must be the same.

    Raises:
        ValueError: no such file, a table that cannot be read, or a column that it lacks; two rows of one file that
            differ.
    """

    def __init__(
        self,
        path: Path,
        file_column: str,
        columns: Mapping[str, str | Sequence[str]],
        findings: Findings,
        form: TableFormat = TableFormat(),
        joined: str | None = None,
    ) -> None:
        self.path = path
        self.joined = joined
        self.findings = findings
        self.rows: dict[Parts, dict[str, Any]] = {}
        self.written: dict[Parts, str] = {}
        try:
            with open_table(path, findings, form) as table:
                file = table.column("file_column", file_column)
                kept = [
                    table.column(option, name)
                    for option, names in columns.items()
                    for name in ([names] if isinstance(names, str) else names)
                ]
                for row in table.rows:
                    self._add(label_of(row[file]) or "", {column: _stripped(row[column]) for column in kept})
        except OSError as error:
            raise ValueError(
                f"`table` must be a table, such as a CSV file, but {path} cannot be read: {error.strerror or error}."
            ) from error
        self._ends: dict[int, dict[Parts, list[Parts]]] = {}

    def of(self, files: Iterable[tuple[Path, Path]]) -> list[dict[str, Any] | None]:
        """The row of each file; None where there is none, which is counted.

        Args:
            files: paths, and the same below their folder.

        Raises:
            ValueError: a row that may be of files in several folders, or a file that may be of several rows.
        """
        files = list(files)
        fits = [self._fitting(path, inner) for path, inner in files]
        best: dict[Parts, Fit] = {}
        for one in fits:
            for key, fit in one.items():
                best[key] = max(best.get(key, fit), fit)
        taken: dict[Parts, Path] = {}
        found: list[dict[str, Any] | None] = []
        for (path, inner), one in zip(files, fits, strict=True):
            chosen = self._chosen({key: fit for key, fit in one.items() if fit == best[key]}, path)
            found.append(None if chosen is None else self.rows[chosen])
            if chosen is None:
                self.findings.note(WITHOUT, inner.as_posix())
            elif taken.setdefault(chosen, path).parent != path.parent:
                raise ValueError(
                    f"`table` must tell files apart, but `{self.written[chosen]}` of {self.path.name} may be "
                    f"{taken[chosen]} or {path}; write more of their paths."
                )
        for key, written in self.written.items():
            if key not in taken:
                self.findings.note(UNKNOWN, written)
        return found

    def _add(self, written: str, row: dict[str, Any]) -> None:
        key = _parts(written)
        if not key:
            self.findings.note(NAMELESS)
        elif self.joined is not None and (before := self.rows.get(key)) is not None and before != row:
            cells = [one[self.joined] for one in (before, row)]
            every = [word for cell in cells for word in (cell if isinstance(cell, list) else [cell])]
            self.rows[key] = row | {self.joined: every}
        elif self.rows.setdefault(key, row) != row:
            was, now = (", ".join(map(repr, one.values())) for one in (self.rows[key], row))
            raise ValueError(
                f"`table` must have one row for each file, but {self.path.name} has two for `{written}`: {was} and "
                f"{now}."
            )
        else:
            self.written.setdefault(key, written)

    def _fitting(self, path: Path, inner: Path) -> dict[Parts, Fit]:
        """Rows that may be of a file; those without its ending where none has it."""
        for ending in (path.suffix, ""):
            whole, below = (_parts(str(one.with_suffix(ending))) for one in (path.absolute(), inner))
            keys = [whole[-count:] for count in range(1, len(whole) + 1) if whole[-count:] in self.rows]
            if fits := {key: (key == below, _shared(key, whole)) for key in (*keys, *self._ending_in(below))}:
                return fits
        return {}

    def _chosen(self, fits: dict[Parts, Fit], path: Path) -> Parts | None:
        """The row that fits a file best."""
        most = max(fits.values(), default=None)
        keys = sorted(key for key, fit in fits.items() if fit == most)
        if any(self.rows[key] != self.rows[keys[0]] for key in keys):
            names = " or ".join(f"`{self.written[key]}`" for key in keys[:2])
            raise ValueError(
                f"`table` must tell files apart, but the row of {path} may be {names} of {self.path.name}."
            )
        return keys[0] if keys else None

    def _ending_in(self, end: Parts) -> Sequence[Parts]:
        """Rows whose path ends in ``end``."""
        if len(end) not in self._ends:
            ends = self._ends[len(end)] = defaultdict(list)
            for key in self.rows:
                ends[key[-len(end) :]].append(key)
        return self._ends[len(end)].get(end, ())


def _stripped(cell: Any) -> Any:
    return cell.strip() if isinstance(cell, str) else cell


def _parts(path: str) -> Parts:
    """Folders and the name, whatever the system that wrote them."""
    parts = posixpath.normpath(path.replace("\\", "/")).split("/") if path else []
    return tuple(part for part in parts if part not in ("", ".", ".."))


def _shared(first: Parts, second: Parts) -> int:
    """How many parts two paths share at their ends."""
    pairs = zip(reversed(first), reversed(second), strict=False)
    return next((count for count, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))
