"""Arrays of many images in one file, with their labels: NumPy's ``.npy`` and ``.npz``, IDX as of MNIST, and HDF5."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unmask.api import nearest, quoted
from unmask.data import Findings, Found, Item, Source, label_of, open_gzip, read_npz
from unmask_vision.data.array_table import NO_TABLE, ArrayTable
from unmask_vision.data.arrays import check_dtype

HDF5 = (".h5", ".hdf5", ".hdf", ".he5")
_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_IMAGE_KEYS = ("images", "image", "x", "data", "x_train", "train_images", "arr_0")
_LABEL_KEYS = ("labels", "label", "y", "targets", "target", "y_train", "train_labels")


@dataclass
class ArraySource(Source):
    """The images of an array ``[n, H, W]``, ``[n, H, W, C]`` or ``[n, C, H, W]``.

    Args:
        images: the file. ``.npy``, plain IDX and HDF5 are read image by image; ``.npz`` and packed IDX whole.
        labels: a file of labels, one for each image, of the same kinds; None: those in ``images``, if any.
        image_key: the images' name in a ``.npz`` or HDF5 file; None: the only array of images, or one of a usual name.
        label_key: the labels' name; None: one of a usual name, or none.
        val_images: another such file, for validation; None: the data module holds out a part of ``images``.
        val_labels: its labels.
        channels: of the images; tells where they stand in an array of four axes.
        table: a table of labels in their place; None: none.

    Raises:
        ValueError: labels both in an array and in a table; in `read`, a file that is missing or of another kind, a name
            that it lacks, arrays of other axes, not as many labels as images, or a table that does not fit.
    """

    images: str
    labels: str | None = None
    image_key: str | None = None
    label_key: str | None = None
    val_images: str | None = None
    val_labels: str | None = None
    channels: int | None = None
    table: ArrayTable = NO_TABLE

    def __post_init__(self) -> None:
        for name in ("labels", "label_key", "val_labels"):
            given = getattr(self, name)
            if self.table.table is not None and given is not None:
                raise ValueError(f"`{name}` must be left out where `table` tells of labels, but is {given!r}.")

    def read(self, findings: Findings) -> Found:
        opened = [("images", self.images, self.labels)]
        if self.val_images is not None:
            opened.append(("val_images", self.val_images, self.val_labels))
        parts = [self._items(*one) for one in opened]
        if self.table.table is not None:
            ids = [self._ids(option, images, len(own)) for (option, images, _), own in zip(opened, parts, strict=True)]
            return self.table.told(parts, ids, findings)
        known = any(item.label is not None for part in parts for item in part)
        return Found.of(parts, about="" if known else "No labels; `labels` names a file of them, `label_key` an array.")

    def _items(self, option: str, images: str, labels: str | None) -> list[Item]:
        path = Path(images).expanduser()
        held = _arrays(path, option)
        key = _chosen(held, self.image_key, "image_key", path, _IMAGE_KEYS, lambda shape: len(shape) in (3, 4))
        array = held[key]
        if len(array.shape) not in (3, 4):
            raise ValueError(
                f"`{option}` must hold images [n, H, W], [n, H, W, C] or [n, C, H, W], but {_named(path, key)} has the "
                f"shape {tuple(array.shape)}."
            )
        check_dtype(np.dtype(array.dtype))
        given = self._labels(option, labels, held, path, len(array))
        first = len(array) > 0 and self.channels is not None and _channels_first(array.shape[1:], self.channels)
        return [
            Item(f"image {number}", partial(_image, array, number, first), label) for number, label in enumerate(given)
        ]

    def _labels(self, option: str, labels: str | None, held: Mapping[str, Any], path: Path, count: int) -> list[Any]:
        """A label for each image, or None."""
        file = path
        if labels is not None:
            file = Path(labels).expanduser()
            held = _arrays(file, option.replace("images", "labels"))
        elif self.table.table is not None or (
            self.label_key is None and not any(_short(key) in _LABEL_KEYS for key in held)
        ):
            return [None] * count
        key = _chosen(held, self.label_key, "label_key", file, _LABEL_KEYS, lambda shape: len(shape) in (1, 2))
        values = np.asarray(held[key][:])
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if values.ndim not in (1, 2) or len(values) != count:
            raise ValueError(
                f"Labels must be as many as images, {count:,}, but {_named(file, key)} has the shape {values.shape}."
            )
        return [_label(value) for value in values]

    def _ids(self, option: str, images: str, count: int) -> list[str]:
        """Of each image, by which a table finds it."""
        key = self.table.id_key
        if key is None:
            return list(map(str, range(count)))
        path = Path(images).expanduser()
        held = _arrays(path, option)
        values = held[_chosen(held, key, "id_key", path, (), lambda shape: len(shape) == 1)][:]
        if values.shape != (count,):
            raise ValueError(
                f"`id_key` must name an id for each of the {count:,} images, but {_named(path, key)} has the shape "
                f"{values.shape}."
            )
        return [str(_label(value)) for value in values]


class _InFile:
    """An array that is read part by part, from a file that each process opens for itself.

    Args:
        opened: opens it.
        shape: of the array.
        dtype: of its values.
    """

    def __init__(self, opened: Callable[[], Any], shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.open, self.shape, self.dtype = opened, shape, dtype.newbyteorder("=")
        self._opened: Any = None

    def __getitem__(self, place: Any) -> np.ndarray:
        if self._opened is None:
            self._opened = self.open()
        values = np.asarray(self._opened[place])
        return values if values.dtype.kind in "OSU" else values.astype(self.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}


def _image(array: Any, number: int, channels_first: bool) -> np.ndarray:
    """``[H, W]`` or ``[H, W, C]``."""
    image = np.asarray(array[number])
    return np.moveaxis(image, 0, -1) if channels_first else image


def _channels_first(shape: tuple[int, ...], channels: int) -> bool:
    """Whether a whole array of images has its channels before rows and columns; the last axis goes first in doubt."""
    return len(shape) == 3 and shape[-1] != channels and shape[0] == channels


def _label(value: Any) -> Any:
    """A word, a real number, or several numbers, as an `Item` has them; None where it is empty."""
    if isinstance(value, np.ndarray):
        return value
    value = value.decode("utf-8") if isinstance(value, bytes) else value
    if isinstance(value, float | np.floating):
        number = float(value)
        return None if np.isnan(number) else number
    return label_of(value)


def _arrays(path: Path, option: str) -> Mapping[str, Any]:
    """The arrays of a file by their names; of a file of one array, by an empty name."""
    if not path.is_file():
        siblings = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, siblings, 1)
        hint = f" Nearest: {path.parent / near[0]}." if near else ""
        raise ValueError(f"`{option}` must be a file of images or labels, but there is no {path}.{hint}")
    ending = path.suffix.lower()
    try:
        if ending == ".npy":
            mapped = partial(np.load, path, mmap_mode="r", allow_pickle=False)
            array = mapped()
            return {"": _InFile(mapped, array.shape, array.dtype)}
        if ending == ".npz":
            return dict(read_npz(path)[0])
        if ending in HDF5:
            return _hdf5(path)
        return {"": _idx(path)}
    except ImportError as error:
        raise ValueError(
            f"`{option}` is HDF5, which needs the package h5py: pip install 'unmask-vision[hdf5]'."
        ) from error
    except Exception as error:  # NumPy's reader raises nearly anything on a damaged header
        reason = str(error).split("\n")[0].rstrip(".")
        raise ValueError(
            f"`{option}` must be an array as .npy, .npz, HDF5 ({', '.join(HDF5)}) or IDX, but {path} cannot be read as "
            f"one: {reason}."
        ) from error


def _hdf5(path: Path) -> dict[str, Any]:
    """All arrays of a file by their paths in it."""
    import h5py

    found: dict[str, Any] = {}

    def note(name: str, held: Any) -> None:
        if isinstance(held, h5py.Dataset) and (held.external or held.is_virtual):
            raise ValueError(f"its `{name}` is in other files, which it may not open")
        if isinstance(held, h5py.Dataset) and held.ndim:
            found[name] = _InFile(partial(_open_hdf5, path, name), held.shape, held.dtype)

    with h5py.File(path, "r") as file:
        file.visititems(note)  # links into other files are not followed
    return found


def _open_hdf5(path: Path, name: str) -> Any:
    import h5py

    return h5py.File(path, "r")[name]


def _idx(path: Path) -> Any:
    """The array of an IDX file: a magic number, big-endian lengths, values."""
    packed = path.suffix.lower() == ".gz"
    with open_gzip(path, path.name) if packed else path.open("rb") as file:
        data = file.read() if packed else file.read(1024)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES:
        raise ValueError("its first bytes are of no such file")
    dtype, start = np.dtype(_IDX_TYPES[data[2]]), 4 + 4 * data[3]
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    size = len(data) if packed else path.stat().st_size
    wanted = start + int(np.prod(shape)) * dtype.itemsize
    if size != wanted or not all(shape):
        raise ValueError(f"{shape} values are {wanted:,} bytes, but it has {size:,}: it is damaged")
    if not packed:
        return _InFile(partial(np.memmap, path, dtype, "r", start, shape), shape, dtype)
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _chosen(
    held: Mapping[str, Any], key: str | None, option: str, path: Path, usual: tuple[str, ...], fits: Any
) -> str:
    """The name of the array that is meant."""
    if list(held) == [""]:
        if key is not None:
            raise ValueError(f"`{option}` must be left out for {path.name}, which holds one array without a name.")
        return ""
    if key is not None:
        if key not in held:
            near = nearest(key, list(held)) or list(held)
            raise ValueError(f"`{option}` must be a name in {path.name}, but is {key!r}; nearest: {quoted(near)}.")
        return key
    fitting = [name for name, array in held.items() if fits(array.shape)]
    named = [name for name in fitting if _short(name) in usual]
    for names in (named, fitting):
        if len(names) == 1:
            return names[0]
    raise ValueError(f"`{option}` must name an array of {path.name}, which holds {quoted(list(held))}.")


def _short(key: str) -> str:
    """A name without the groups of HDF5 that it lies in."""
    return key.rpartition("/")[2].lower()


def _named(path: Path, key: str) -> str:
    return f"`{key}` of {path.name}" if key else path.name
