"""A table that is written row by row, whole or not at all: CSV, or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

from unmask.support.atomic import written_whole

SUFFIXES = (".csv", ".parquet")
ROWS = 10_000
"""Rows of Parquet that are written at once."""


def check_table(path: Path, overwrite: bool) -> None:
    """Refuse a file that cannot be written.

    Raises:
        ValueError: another ending, pyarrow is not installed, or a file is there.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"`out` must end in .csv or .parquet, but ends in {path.suffix!r}.")
    if path.suffix == ".parquet" and util.find_spec("pyarrow") is None:
        raise ValueError("Parquet files need pyarrow: pip install 'unmask[parquet]'.")
    if path.exists() and not overwrite:
        raise ValueError(f"`{path}` is there already; take another `out`, or set `overwrite` to replace it.")


@contextmanager
def written_table(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Sequence[Any]], None]]:
    """Gives a function that adds a row of numbers and words. The file is there once all rows are.

    Args:
        path: the file.
        columns: their names.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        if path.suffix == ".csv":
            with part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                yield writer.writerow
            return
        import pyarrow as pa
        from pyarrow import parquet

        rows: list[Sequence[Any]] = []
        writer_of: list[Any] = []

        def flush() -> None:
            table = pa.table({name: [row[at] for row in rows] for at, name in enumerate(columns)})
            if not writer_of:
                writer_of.append(parquet.ParquetWriter(part, table.schema))
            writer_of[0].write_table(table)
            rows.clear()

        def add(row: Sequence[Any]) -> None:
            rows.append(row)
            if len(rows) == ROWS:
                flush()

        try:
            yield add
            if rows or not writer_of:
                flush()
        finally:
            for writer in writer_of:
                writer.close()
