"""Packed files, unpacked to a limit that is one for all: a small file may not become gigabytes.

A packed file may unpack to `MOST` bytes, and beyond that to `RATIO` times its own size: texts, tables and arrays that
people pack shrink 2 to 30 times, a bomb 1,000 times.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

MOST = 2**28
"""Bytes that any file may unpack to."""
RATIO = 100
"""Times its own size that a file may unpack to where that is more."""


def check_unpacked(unpacked: int, packed: int, name: str | None = None) -> None:
    """Refuses what unpacks to too much.

    Args:
        unpacked: bytes that it unpacks to, as far as is known.
        packed: bytes of the file.
        name: of the file, in messages; None: somebody else names it.

    Raises:
        ValueError: they are more than `MOST`, and than `RATIO` times as many as those of the file.
    """
    most = max(MOST, RATIO * packed)
    if unpacked > most:
        found = "more" if unpacked < 2 * most else f"{unpacked // 2**20:,} MB"
        raise ValueError(
            f"{'it' if name is None else f'`{name}`'} must unpack to at most {most // 2**20:,} MB, the more of "
            f"{MOST // 2**20} MB and {RATIO} times its size, but unpacks to {found}."
        )


def check_archive(path: Path) -> None:
    """Refuses a zip file, such as a ``.npz``, whose records together unpack to too much; any other file is well.

    Raises:
        ValueError: as `check_unpacked`.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_unpacked(sum(record.file_size for record in archive.infolist()), path.stat().st_size, path.name)


def read_npz(path: Path, names: Collection[str] | None = None) -> tuple[dict[str, np.ndarray], list[str]]:
    """Arrays of an archive of NumPy's, and the names of all that it holds.

    Args:
        path: of the archive.
        names: which to read, as far as they are there; None: all.

    Raises:
        ValueError: it is no such archive, unpacks to too much, or one of them is no array.
    """
    check_archive(path)
    with np.load(path, allow_pickle=False) as archive:
        if not hasattr(archive, "files"):
            raise ValueError("it is a single array")
        found = list(archive.files)
        arrays = {name: archive[name] for name in found if names is None or name in names}
    if odd := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise ValueError(f"`{odd[0]}` is no array")  # NumPy gives the bytes of what it does not know
    return arrays, found


def check_parquet(file: Any, path: Path) -> None:
    """Refuses a Parquet file, opened by pyarrow, that unpacks to too much: a row is counted as a byte at least.

    Raises:
        ValueError: as `check_unpacked`.
    """
    about = file.metadata
    size = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    check_unpacked(max(size, about.num_rows), path.stat().st_size, path.name)


def open_gzip(file: IO[bytes] | Path, name: str) -> io.BufferedReader:
    """What a file packed by gzip holds, as a file.

    Args:
        file: packed, open for reading, or its path.
        name: of the file, in messages.

    Raises:
        ValueError: as `check_unpacked`: at once where its end says so, else while it is read.
    """
    return io.BufferedReader(cast(Any, _Counted(file, name)), 2**16)


class _Counted(io.RawIOBase):
    """Counts the bytes that come out."""

    def __init__(self, file: IO[bytes] | Path, name: str) -> None:
        self._own = file.open("rb") if isinstance(file, Path) else None
        self._packed: IO[bytes] = self._own or cast("IO[bytes]", file)
        begin = self._packed.tell()
        self._size = self._packed.seek(0, io.SEEK_END)
        self._name = name
        self._packed.seek(max(self._size - 4, 0))
        if int.from_bytes(self._packed.read(4), "little") > max(MOST, RATIO * self._size):  # what its end says
            self._look_through(begin)
        self._packed.seek(begin)
        self._stream = gzip.GzipFile(fileobj=cast(Any, self._packed))

    def _look_through(self, begin: int) -> None:
        """Refuses a bomb before anybody works on its first half; what is damaged is found out by who reads it."""
        self._packed.seek(begin)
        stream = gzip.GzipFile(fileobj=cast(Any, self._packed))
        with suppress(EOFError, gzip.BadGzipFile, zlib.error):
            while stream.read(2**20):
                check_unpacked(stream.tell(), self._size, self._name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._stream.read1(len(buffer))
        buffer[: len(chunk)] = chunk
        check_unpacked(self._stream.tell(), self._size, self._name)
        return len(chunk)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        if not self.closed and self._own is not None:
            self._own.close()
        super().close()
