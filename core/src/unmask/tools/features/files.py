"""Feature files: ``.npy``, ``.safetensors`` and Parquet, put together from columns in constant memory."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import IO, Any

import numpy as np

from unmask.tools.features.row_store import TEXT, Kind, RowStore

CHUNK_BYTES = 2**24
"""About as much is read at once, and about as much goes into a row group of Parquet."""
CHUNK_LINES = 10_000
"""Lines of a CSV file that are made at once."""
FEATURES = "features"


def check_suffix(suffix: str) -> None:
    """Make sure that files of that kind can be written here.

    Raises:
        ValueError: no known suffix, or its library is not installed.
    """
    if suffix not in FORMATS:
        raise ValueError(f"`out` must end in one of {', '.join(FORMATS)}, but ends in {suffix!r}.")
    if suffix == ".parquet" and util.find_spec("pyarrow") is None:
        raise ValueError("Parquet files need pyarrow: pip install 'unmask[parquet]'.")


def assemble(columns: RowStore, suffix: str, whole: Path, ids: Path) -> bool:
    """Write ``whole``, and what it cannot hold to ``ids``.

    Args:
        columns: with ``features`` and ids, all committed.
        suffix: of the format.
        whole: the file to write.
        ids: a CSV file with a line per row, for formats that cannot hold all ids.

    Returns:
        Whether ``ids`` was written.
    """
    FORMATS[suffix](columns, whole)
    names = [name for name in columns.kinds if name != FEATURES]
    if suffix == ".parquet" or (suffix == ".safetensors" and all(columns.kinds[n].dtype != TEXT for n in names)):
        return False
    with ids.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([label for name in names for label in _headings(name, columns.kinds[name])])
        for chunk in columns.chunks(names, CHUNK_LINES):
            parts: list[list[Any]] = []
            for column in chunk.values():
                if isinstance(column, list):
                    parts.append(column)
                else:
                    parts += column.reshape(len(column), -1).T.tolist()  # a list per number of a row
            writer.writerows(zip(*parts, strict=True))
    return True


def _npy(columns: RowStore, whole: Path) -> None:
    kind = columns.kinds[FEATURES]
    with whole.open("wb") as file:
        header = {"descr": np.dtype(kind.dtype).str, "fortran_order": False, "shape": (columns.num_rows, *kind.shape)}
        np.lib.format.write_array_header_1_0(file, header)
        _copy(columns, FEATURES, file)


def _safetensors(columns: RowStore, whole: Path) -> None:
    """The format's own arithmetic: its library must have all tensors in memory."""
    kinds = {name: kind for name, kind in columns.kinds.items() if kind.dtype != TEXT}
    names = sorted(kinds, key=lambda name: (-np.dtype(kinds[name].dtype).itemsize, name))  # widest first: aligned
    header: dict[str, Any] = {"__metadata__": {key: str(value) for key, value in columns.about.items()}}
    end = 0
    for name in names:
        start, end = end, end + kinds[name].num_bytes
        dtype, shape = _SAFETENSORS[kinds[name].dtype], [columns.num_rows, *kinds[name].shape]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with whole.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            _copy(columns, name, file)


def _parquet(columns: RowStore, whole: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    def kind_of(kind: Kind) -> Any:
        plain = pa.string() if kind.dtype == TEXT else pa.from_numpy_dtype(np.dtype(kind.dtype))
        return pa.list_(plain, kind.shape[0]) if kind.shape else plain

    schema = pa.schema(
        [pa.field(name, kind_of(kind), nullable=False) for name, kind in columns.kinds.items()],
        metadata={"unmask": json.dumps(columns.about)},
    )
    rows = max(CHUNK_BYTES // columns.kinds[FEATURES].row_bytes, 1)
    texts = [name for name, kind in columns.kinds.items() if kind.dtype == TEXT]
    with parquet.ParquetWriter(whole, schema, use_dictionary=texts) as writer:
        for chunk in columns.chunks(list(columns.kinds), rows):
            arrays = []
            for field, column in zip(schema, chunk.values(), strict=True):
                flat = pa.array(column.ravel() if isinstance(column, np.ndarray) else column)
                wide = pa.types.is_fixed_size_list(field.type)
                arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=field.type) if wide else flat)
            writer.write_table(pa.table(arrays, schema=schema), row_group_size=rows)


FORMATS: dict[str, Callable[[RowStore, Path], None]] = {
    ".npy": _npy,
    ".parquet": _parquet,
    ".safetensors": _safetensors,
}
"""How to write a file, by its suffix."""

_SAFETENSORS = {"float32": "F32", "float64": "F64", "int64": "I64"}


def _headings(name: str, kind: Kind) -> list[str]:
    return [f"{name}_{i}" for i in range(kind.shape[0])] if kind.shape else [name]


def _copy(columns: RowStore, name: str, into: IO[bytes]) -> None:
    with (columns.folder / name).open("rb") as file:
        shutil.copyfileobj(file, into, CHUNK_BYTES)
