"""A table that grows on disk by whole batches: killed at any moment, it goes on from its last batch."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from unmask.support.atomic import written_whole

COMMIT_S = 2.0
"""Seconds of work that a kill may cost."""
COPIED_BYTES = 2**24
"""Copied at once."""
TEXT = "text"
STATE = "state.json"

Column = np.ndarray | list[str]


@dataclass
class Kind:
    """What a column holds.

    Args:
        dtype: numpy's name of it, such as ``float32``, or ``text``.
        shape: of one row.
        num_bytes: written so far.
    """

    dtype: str
    shape: tuple[int, ...]
    num_bytes: int = 0

    @property
    def row_bytes(self) -> int:
        """Bytes of a row; of numbers only."""
        return np.dtype(self.dtype).itemsize * int(np.prod(self.shape))


class RowStore:
    """A folder with a raw file per column, and ``state.json``: what is whole, and what it was made with.

    A context manager, which commits at its end, even that of an error.

    Args:
        folder: to be made, or to be carried on when it has a ``state.json``.
        about: what the rows are made with; kept in the state.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder = folder
        self.about = about
        self.num_samples = 0
        self.num_rows = 0
        self.kinds: dict[str, Kind] = {}
        self._files: dict[str, IO[bytes]] = {}
        self._committed, self._due = 0, time.monotonic() + COMMIT_S
        state = saved(folder / STATE)
        if state is None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            return
        self.num_samples = self._committed = state["num_samples"]
        self.num_rows = state["num_rows"]
        self.kinds = {name: Kind(k["dtype"], tuple(k["shape"]), k["num_bytes"]) for name, k in state["columns"].items()}
        for name, kind in self.kinds.items():
            self._files[name] = file = (folder / name).open("r+b")
            if file.seek(0, os.SEEK_END) < kind.num_bytes:
                raise ValueError(f"`{folder / name}` must have {kind.num_bytes:,} bytes, but has {file.tell():,}.")
            file.truncate(kind.num_bytes)  # what came after the last commit may be half a batch
            file.seek(kind.num_bytes)

    def __enter__(self) -> RowStore:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.commit()
        for file in self._files.values():
            file.close()
        if not self.kinds:
            self.folder.rmdir()  # the first batch failed

    def append(self, columns: dict[str, Column], num_samples: int) -> None:
        """Add the rows that came of the next ``num_samples`` samples.

        Raises:
            ValueError: columns of other names, types or widths than before.
        """
        kinds = {name: _kind(column) for name, column in columns.items()}
        if not self.kinds:
            self.kinds = kinds
            self._files = {name: (self.folder / name).open("wb") for name in kinds}
        before, now = ({n: (k.dtype, k.shape) for n, k in some.items()} for some in (self.kinds, kinds))
        if before != now:
            raise ValueError(f"All batches must give the same columns, but there are {before} and then {now}.")
        sizes = {}
        for name, column in columns.items():
            content = _lines(column) if isinstance(column, list) else np.ascontiguousarray(column).tobytes()
            self._files[name].write(content)
            sizes[name] = len(content)
        for name, size in sizes.items():  # all at once: an error above leaves none of it counted
            self.kinds[name].num_bytes += size
        self.num_samples += num_samples
        self.num_rows += len(next(iter(columns.values())))
        if time.monotonic() >= self._due:
            self.commit()

    def extend(self, folder: Path) -> None:
        """Add all rows of another store that nobody writes to, and make sure of them: all, or after a kill none.

        Raises:
            ValueError: columns of other names, types or widths.
        """
        with RowStore(folder, {}) as other:
            kinds = {name: Kind(kind.dtype, kind.shape) for name, kind in other.kinds.items()}
            if not self.kinds:
                self.kinds = kinds
                self._files = {name: (self.folder / name).open("wb") for name in kinds}
            before, now = ({n: (k.dtype, k.shape) for n, k in some.items()} for some in (self.kinds, kinds))
            if before != now:
                raise ValueError(f"All batches must give the same columns, but there are {before} and then {now}.")
            for name, kind in other.kinds.items():
                with (folder / name).open("rb") as file:
                    shutil.copyfileobj(file, self._files[name], COPIED_BYTES)
                self.kinds[name].num_bytes += kind.num_bytes
            self.num_samples += other.num_samples
            self.num_rows += other.num_rows
        self.commit()

    def commit(self) -> None:
        """Make sure of all rows so far."""
        if self._committed == self.num_samples:
            return
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        with written_whole(self.folder / STATE) as part:
            part.write_text(json.dumps(self.state, indent=1) + "\n")
        self._committed, self._due = self.num_samples, time.monotonic() + COMMIT_S

    @property
    def state(self) -> dict[str, Any]:
        """Counts, columns, and what they were made with."""
        columns = {name: asdict(kind) for name, kind in self.kinds.items()}
        counts = {"num_samples": self.num_samples, "num_rows": self.num_rows}
        return {"about": self.about, **counts, "columns": columns}

    def chunks(self, names: list[str], num_rows: int) -> Iterator[dict[str, Column]]:
        """What is committed, ``num_rows`` rows at a time."""
        files = {name: (self.folder / name).open("rb") for name in names}
        try:
            for start in range(0, self.num_rows, num_rows):
                count = min(num_rows, self.num_rows - start)
                yield {name: _read(file, self.kinds[name], count) for name, file in files.items()}
        finally:
            for file in files.values():
                file.close()


def saved(file: Path) -> dict[str, Any] | None:
    """A state that was committed to ``file``; None: there is none."""
    try:
        state = json.loads(file.read_text())
    except (OSError, ValueError):  # none, or something else of that name
        return None
    return state if isinstance(state, dict) else None


def _kind(column: Column) -> Kind:
    return Kind(TEXT, ()) if isinstance(column, list) else Kind(str(column.dtype), column.shape[1:])


def _lines(texts: list[str]) -> bytes:
    return "".join(json.dumps(text) + "\n" for text in texts).encode()


def _read(file: IO[bytes], kind: Kind, count: int) -> Column:
    if kind.dtype == TEXT:
        return [json.loads(file.readline()) for _ in range(count)]
    return np.frombuffer(file.read(count * kind.row_bytes), kind.dtype).reshape(count, *kind.shape)
