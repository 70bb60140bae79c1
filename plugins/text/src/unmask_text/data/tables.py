"""Rows of tables in files: JSON lines, CSV and Parquet, one at a time."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from unmask.nearest import nearest, quoted
from unmask_text.data.report import Report

Row = dict[str, Any]


def json_rows(chunks: Iterator[str], report: Report) -> Iterator[Row]:
    """Objects, one per line; other lines are counted."""
    for line in _lines(chunks):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield row
        else:
            report.num_unreadable_rows += 1


def csv_rows(chunks: Iterator[str], delimiter: str) -> Iterator[Row]:
    """Rows by the names in the first line; fields of any length."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield from csv.DictReader(_lines(chunks), delimiter=delimiter)
    finally:
        csv.field_size_limit(before)


def parquet_rows(path: Path, text_column: str | None, label_column: str | None) -> Iterator[Row]:
    """Rows with these columns alone.

    Raises:
        ValueError: `pyarrow` is not installed, or a column that there is not.
        OSError: the file is damaged.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError(f"`{path}` needs the package `pyarrow`: pip install pyarrow.") from error
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            columns = [column_of(names, "text_column", text_column)]
            if label_column is not None:
                columns.append(column_of(names, "labels", label_column))
            for batch in file.iter_batches(batch_size=256, columns=columns):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise OSError(error) from error


def column_of(columns: Iterable[str], option: str, name: str | None, fallback: str = "text") -> str:
    """The column called ``name``, else ``fallback``, else the only one there is.

    Raises:
        ValueError: there is none such.
    """
    columns = list(columns)
    wanted = name or (fallback if fallback in columns or len(columns) != 1 else columns[0])
    if wanted not in columns:
        near = quoted(nearest(wanted, columns) or columns)
        raise ValueError(f"`{option}` must name a column of the data, but is {wanted!r}; nearest: {near}.")
    return wanted


def _lines(chunks: Iterator[str]) -> Iterator[str]:
    """Whole lines with their ends."""
    parts: list[str] = []
    for chunk in chunks:
        *lines, rest = chunk.split("\n")
        for line in lines:
            yield "".join(parts) + line + "\n"
            parts = []
        if rest:
            parts.append(rest)
    if parts:
        yield "".join(parts)
