"""Contents of items as bytes, and back: a file stays as it is, arrays become NumPy's files, never pickled.

Endings of a content say what it was: ``array.npy`` an array, ``tensor.npy`` a tensor, ``arrays.npz`` arrays by name.
All others are files of that ending.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.data.sources import Unreadable

ARRAY, TENSOR, ARRAYS = "array.npy", "tensor.npy", "arrays.npz"


class Packed(NamedTuple):
    """A content as a shard holds it.

    Args:
        content: its bytes.
        ending: of its name, without the first dot.
        facts: what a run must know of it before it is read, by name, as JSON has it; the same names for all.
    """

    content: bytes
    ending: str
    facts: Mapping[str, Any] = {}


class Contents(BytesIO):
    """The content of a file.

    Args:
        content: its bytes.
        ending: of its name, in lower case, with the dot; empty: it has none.
    """

    def __init__(self, content: bytes, ending: str = "") -> None:
        super().__init__(content)
        self.ending = ending


def packed(content: Any) -> Packed | None:
    """A file, its bytes, an array, a tensor or arrays by name; None: it is something else.

    Raises:
        OSError: the file cannot be read.
        Unreadable: an array of objects.
    """
    if isinstance(content, Path):
        return Packed(content.read_bytes(), _plain(content.suffix))
    if isinstance(content, BytesIO):
        return Packed(content.getvalue(), _plain(getattr(content, "ending", "")))
    if isinstance(content, bytes):
        return Packed(content, _plain(""))
    if isinstance(content, Tensor):
        return Packed(_array(content.detach().cpu().contiguous().numpy()), TENSOR)
    if isinstance(content, np.ndarray):
        return Packed(_array(content), ARRAY)
    if isinstance(content, dict) and all(isinstance(one, np.ndarray) for one in content.values()):
        held = BytesIO()
        for array in content.values():
            _check(array)
        np.savez(held, **content)
        return Packed(held.getvalue(), ARRAYS)
    return None


def unpacked(content: bytes, ending: str) -> Any:
    """What `packed` was given; files as `Contents`.

    Raises:
        Unreadable: the content is none of that kind.
    """
    if ending == ARRAY:
        return _opened(content)
    if ending == TENSOR:
        return torch.from_numpy(_opened(content))
    if ending != ARRAYS:
        last = ending.rpartition(".")[2].lower()
        return Contents(content, "" if last == _NAMELESS else f".{last}")
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise Unreadable("its arrays are compressed, so that they may be of any size")
            return {info.filename.removesuffix(".npy"): _opened(archive.read(info)) for info in archive.infolist()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise Unreadable(f"no archive of arrays: {error}") from error


_NAMELESS = "bin"


def _plain(suffix: str) -> str:
    """An ending that can stand in a name."""
    ending = suffix.lstrip(".").lower()
    return ending if ending.isascii() and ending.isalnum() else _NAMELESS


def _array(array: np.ndarray) -> bytes:
    _check(array)
    held = BytesIO()
    np.save(held, array, allow_pickle=False)
    return held.getvalue()


def _check(array: np.ndarray) -> None:
    if array.dtype.hasobject:
        raise Unreadable(f"it is an array of {array.dtype}, which cannot be written without pickles")


def _opened(content: bytes) -> np.ndarray:
    """An array whose header is held against what follows it, before memory is taken for it."""
    file = BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        count = 1
        for length in shape:
            count *= length
        if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize != len(content) - file.tell():
            raise Unreadable(f"its header says {dtype} {list(shape)}, which its {len(content):,} bytes are not")
        file.seek(0)
        return np.load(file, allow_pickle=False)
    except Unreadable:
        raise
    except Exception as error:  # NumPy parses the header as Python, and raises many kinds
        raise Unreadable(f"no array: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
