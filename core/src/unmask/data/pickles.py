"""Files that hold pickles, read as data alone: what else one asks for is refused, so none can run code.

A pickle is a program for a machine that may call any function it can import. Here it may name numbers, texts, plain
containers, arrays, tensors and sparse matrices, which are checked before anybody multiplies them.
"""

from __future__ import annotations

import collections
import copyreg
import io
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

_torch_load = torch.load


def read_pickle(path: Path, encoding: str = "ASCII", also: Mapping[tuple[str, str], Any] | None = None) -> Any:
    """What a pickle holds.

    Args:
        path: of the file.
        encoding: of texts that Python 2 wrote; its arrays need ``latin1``.
        also: what it may name beside plain data: by module and name, the harmless object that is meant.

    Raises:
        ValueError: it is damaged, too large for the memory, or asks for anything but data.
    """
    with path.open("rb") as file:
        return _plainly(str(path), lambda: _Unpickler(file, encoding=encoding, also=also).load())


def read_torch(path: Path, safe: Iterable[type] = ()) -> Any:
    """What `torch.save` wrote, on the CPU.

    Args:
        path: of the file.
        safe: classes that it may hold beside tensors and plain containers.

    Raises:
        ValueError: it is damaged, too large for the memory, or asks for anything but data.
    """
    with _allowed(safe):
        return _plainly(str(path), lambda: _torch_load(path, map_location="cpu", weights_only=True))


@contextmanager
def data_alone(safe: Iterable[type] = ()) -> Iterator[None]:
    """While it lasts, ``pickle.load`` and ``torch.load`` read data alone, whoever calls them.

    For libraries that open their files themselves and ask torch for whatever is in them. It holds for the whole
    process, so it should be short.

    Args:
        safe: classes that files of torch may hold beside tensors and plain containers.

    Raises:
        ValueError: from within, as `read_pickle` and `read_torch`.
    """

    def load(file: Any, *_: Any, **options: Any) -> Any:
        return _plainly(_name(file), lambda: _Unpickler(file, **options).load())

    def loads(data: Any, /, **options: Any) -> Any:
        return load(io.BytesIO(data), **options)

    def load_torch(f: Any, map_location: Any = None, *_: Any, mmap: bool | None = None, **__: Any) -> Any:
        return _plainly(_name(f), lambda: _torch_load(f, map_location=map_location, weights_only=True, mmap=mmap))

    theirs = pickle.load, pickle.loads, pickle.Unpickler, torch.load
    pickle.load, pickle.loads, pickle.Unpickler, torch.load = load, loads, _Unpickler, load_torch  # type: ignore
    try:
        with _allowed(safe):
            yield
    finally:
        pickle.load, pickle.loads, pickle.Unpickler, torch.load = theirs  # type: ignore


def _allowed(safe: Iterable[type]) -> AbstractContextManager[Any]:
    """Classes that torch reads; those that are allowed already stay so afterwards."""
    known = torch.serialization.get_safe_globals()
    return torch.serialization.safe_globals([one for one in safe if one not in known])


def _plainly(name: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except MemoryError as error:
        raise ValueError(f"`{name}` must fit into the memory, but does not; it may be damaged.") from error
    except Exception as error:  # a damaged pickle raises whatever its last instruction does
        text = " ".join(str(error).split())
        asked = re.search(r"asks for `([\w.]+)`|GLOBAL ([\w.]+)|class(?:/operand)? ([\w.]+)", text)
        if isinstance(error, pickle.UnpicklingError) and asked:
            what = next(part for part in asked.groups() if part)
            raise ValueError(
                f"`{name}` must hold data alone, but asks for `{what}`, which is no data and may run code."
            ) from error
        told = (text.partition("WeightsUnpickler error: ")[2] or text).partition(" Check the documentation")[0]
        told = told[:160].rstrip(".") or type(error).__name__
        raise ValueError(f"`{name}` cannot be read; it may be damaged: {told}.") from error


def _name(file: Any) -> str:
    if isinstance(file, str | Path):
        return str(file)
    return str(getattr(file, "name", None) or getattr(file, "path", None) or "a pickle")


class _Unpickler(pickle._Unpickler):
    """The one written in Python: its memo is a dict, where the faster one reserves as much as the file asks for."""

    def __init__(self, file: Any, *, also: Mapping[tuple[str, str], Any] | None = None, **options: Any) -> None:
        super().__init__(file, **options)
        self._also = also or {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._also:
            return self._also[module, name]
        module = module.replace("numpy._core", "numpy.core")
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module.startswith("scipy.sparse") and name in _FORMATS:
            return _checked_matrix(name)
        raise pickle.UnpicklingError(f"it asks for `{module}.{name}`")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it asks for a part that is not in the file")


def _encode(text: str, encoding: str) -> bytes:
    """What pickles of protocol 2 keep bytes by."""
    return text.encode(encoding)


def _storage(data: bytes) -> Any:
    """What pickles keep the numbers of tensors by."""
    return _torch_load(io.BytesIO(data), weights_only=True)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy.core.multiarray", "scalar"): np.float64(0).__reduce__()[0],
    ("numpy.core.numeric", "_frombuffer"): np.empty(0).__reduce_ex__(5)[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "defaultdict"): collections.defaultdict,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): _encode,
    ("copyreg", "_reconstructor"): copyreg._reconstructor,  # type: ignore[attr-defined]
    ("copy_reg", "_reconstructor"): copyreg._reconstructor,  # type: ignore[attr-defined]
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch.storage", "_load_from_bytes"): _storage,
} | {
    (module, kind.__name__): kind
    for module in ("builtins", "__builtin__")
    for kind in (object, list, dict, set, frozenset, tuple, int, float, str, bool, complex)
}

_FORMATS = ("csr_matrix", "csc_matrix", "csr_array", "csc_array")


def _checked_matrix(kind: str) -> type:
    """A sparse matrix whose indices are checked as it is read: products trust them, and write where they point."""
    import scipy.sparse

    base: type = getattr(scipy.sparse, kind)

    def set_state(self: Any, state: dict[str, Any]) -> None:
        parts = tuple(np.asarray(state[part]) for part in ("data", "indices", "indptr"))
        whole = base(parts, shape=state["_shape"] if "_shape" in state else state["shape"])
        whole.check_format(full_check=True)
        self.__dict__.update(whole.__dict__)

    return type(kind, (base,), {"__setstate__": set_state, "__module__": __name__})
