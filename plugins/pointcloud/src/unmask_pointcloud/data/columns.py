"""Columns of points as a cloud: places, channels and classes of points, found by their names or by their order.

- Colours are given in [0, 1]. Whole numbers are divided by 255; where one is above that, by 65535. Floats are divided
  only where one is above 1. ``rgb`` may also be three bytes packed into one number, as PCL writes them.
- Intensities are as the file has them.
- Classes of points are whole numbers. A negative one, and one that is not finite, stands for no class.
- Normals of other lengths than 1 and colours beyond [0, 1] are told, for they may be other columns.
- Columns that nobody asks for are left out, counted and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unmask.api import IGNORED, quoted
from unmask.data import MOST_CLASSES, Unreadable
from unmask_pointcloud.data.clouds import CHANNELS, Cloud

AXES = ("x", "y", "z")
NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "normals": (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z")),
    "rgb": (
        ("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"),
        ("scalar_red", "scalar_green", "scalar_blue"), ("rgb",), ("rgba",),
    ),
    "intensity": (("intensity",), ("scalar_intensity",), ("reflectance",), ("reflectivity",), ("i",)),
}  # fmt: skip
"""What columns of channels are called, in lower case."""
LABELS = ("label", "part", "class", "classification", "scalar_label", "scalar_class", "scalar_classification")
"""What a column of classes of points is called, likewise; the first one counts."""
UNUSED = "_"
"""Stands for a column without a name, which is left out."""

MORE = "clouds have {} columns, of which {} are taken and the others left out"
OTHERS = "clouds have columns that are left out ({})"
LENGTHS = "clouds have normals whose length is not 1: they may be other columns"
COLOURS = "clouds have colours outside of [0, 1] (of whole numbers, [0, 255] or [0, 65535]): they may be other columns"
DEEP = "clouds have colours above 255, which are read as 16 bits"
NO_CLASSES = "clouds have labels of points that are no whole numbers below {:,}, which are left out"
"""What can be odd about columns, in words."""


def of_columns(columns: Mapping[str, np.ndarray], channels: Sequence[str], odd: tuple[str, ...] = ()) -> Cloud:
    """The cloud of columns ``[n]`` by their names, in lower case.

    Raises:
        Unreadable: it lacks a coordinate or a channel.
    """
    found: dict[str, Any] = {}
    used = set(AXES)
    for name in channels:
        own = named(name, columns)
        if own is None:
            raise Unreadable(f"it has no `{name}`, but columns {', '.join(columns)}")
        found[name] = np.stack([np.asarray(columns[column]) for column in own], 1) if len(own) > 1 else columns[own[0]]
        if name == "rgb" and len(own) == 1:
            found[name] = _unpacked(columns[own[0]])
        used.update(own)
    if not columns.keys() >= set(AXES):
        raise Unreadable(f"it has no x, y and z, but columns {', '.join(columns) or 'none'}")
    label = next((name for name in LABELS if name in columns), None)
    left = [name for name in columns if name not in used and name not in (label, UNUSED)]
    if left:
        odd += (OTHERS.format(", ".join(left)),)
    places = np.stack([columns[axis] for axis in AXES], 1)
    return cloud_of(places, found, channels, odd, None if label is None else columns[label])


def of_rows(rows: np.ndarray, channels: Sequence[str], names: Sequence[str] = (), odd: tuple[str, ...] = ()) -> Cloud:
    """Rows of x, y, z and ``channels`` as a cloud; what follows is left out and told.

    Args:
        rows: ``[n, 3 + C or more]``.
        channels: in the order of the columns.
        names: of all columns, in lower case, by which they are found; empty: there are none.
        odd: what is known to be odd.

    Raises:
        Unreadable: too few columns, or no numbers.
    """
    width = len(names) or 3 + sum(CHANNELS[name] for name in channels)
    if rows.ndim != 2 or rows.shape[1] < width or (names and rows.shape[1] > width):
        more = f" with {', '.join(channels)}" if channels and not names else ""
        more = f": {', '.join(names)}" if names else more
        many = "; `pointcloud.npz` reads archives of many clouds" if rows.ndim == 3 else ""
        raise Unreadable(f"points are {list(rows.shape)} instead of [points, {width}]{more}{many}")
    if rows.dtype.kind not in "fiu":
        raise Unreadable(f"points are {rows.dtype} instead of numbers")
    if names:
        return of_columns({name: rows[:, place] for place, name in enumerate(names)}, channels, odd)
    found, start = {}, 3
    for name in channels:
        found[name] = rows[:, start : start + CHANNELS[name]]
        start += CHANNELS[name]
    return cloud_of(rows[:, :3], found, channels, odd + _left_out(rows.shape[1], channels))


def cloud_of(
    places: np.ndarray,
    found: Mapping[str, Any],
    channels: Sequence[str],
    odd: tuple[str, ...] = (),
    label: np.ndarray | None = None,
) -> Cloud:
    """Places, the channels that are asked for, and classes of points.

    Raises:
        Unreadable: it lacks a channel.
    """
    columns = [np.asarray(places, dtype=np.float64)]
    for name in channels:
        if found.get(name) is None:
            raise Unreadable(f"it has no `{name}`")
        values = np.asarray(found[name])
        if name == "rgb":
            values, told = to_unit(values)
            odd += told
        values = np.asarray(values, dtype=np.float64).reshape(len(places), -1)
        real = values[np.isfinite(values).all(1)]
        if name == "normals" and len(real) and abs(np.median(np.linalg.norm(real, axis=1)) - 1) > 0.1:
            odd += (LENGTHS,)
        if name == "rgb" and len(real) and (real.min() < 0 or real.max() > 1):
            odd += (COLOURS,)
        columns.append(values)
    part, told = (None, ()) if label is None else _classes(np.asarray(label))
    return Cloud(np.concatenate(columns, axis=1), part, odd + told)


def named(channel: str, columns: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...] | None:
    """The names under which ``columns`` have a channel; None: they have it not."""
    return next((own for own in NAMES[channel] if set(own) <= set(columns)), None)


def checked(columns: Sequence[str], channels: Sequence[str]) -> tuple[str, ...]:
    """The option ``columns``, in lower case.

    Raises:
        ValueError: a name that is there twice, no x, y and z, or none of a channel that is asked for.
    """
    names = tuple(name.strip().lower() for name in columns)
    twice = next((name for name in names if name != UNUSED and names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"`columns` must name each column once, but has {twice!r} twice; '_' leaves a column out.")
    if not set(AXES) <= set(names):
        raise ValueError(f"`columns` must have {quoted(AXES)}, but is {list(names)}.")
    for channel in channels:
        if named(channel, names) is None:
            ways = " or ".join(", ".join(own) for own in NAMES[channel])
            raise ValueError(f"`columns` must have the channel {channel!r} ({ways}), but is {list(names)}.")
    return names


def _left_out(num_columns: int, channels: Sequence[str]) -> tuple[str, ...]:
    taken = 3 + sum(CHANNELS[name] for name in channels)
    words = ", ".join((*AXES, *(f"{name} ({CHANNELS[name]})" for name in channels)))
    return (MORE.format(num_columns, words),) if num_columns > taken else ()


def to_unit(values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """In [0, 1], and what is odd."""
    real = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    largest = real.max() if real.size else 0
    whole = values.dtype.kind in "iu" or bool((real == real.round()).all())
    if largest > 255 and whole:
        return values / 65535, () if values.dtype == np.uint16 else (DEEP,)
    return (values / 255, ()) if values.dtype.kind in "iu" or largest > 1 else (values, ())


def _unpacked(packed: np.ndarray) -> np.ndarray:
    """``[n, 3]`` bytes of red, green and blue in the bits of each number: a float32, or a whole number."""
    packed = np.ascontiguousarray(packed)
    if packed.dtype == np.float64:  # text
        packed = packed.astype(np.float32) if not bool((packed == packed.round()).all()) else packed.astype(np.uint32)
    bits = packed.view(np.uint32) if packed.dtype == np.float32 else packed.astype(np.uint32)
    return np.stack([(bits >> shift) & 255 for shift in (16, 8, 0)], 1).astype(np.uint8)


def _classes(label: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """``[n]`` int64, `IGNORED` where a point has none; None where they are none at all, which is told."""
    known = np.isfinite(label) if label.dtype.kind == "f" else np.ones(len(label), dtype=bool)
    real = label[known]
    if label.dtype.kind not in "fiu" or (real.size and (real.max() >= MOST_CLASSES or (real != real.round()).any())):
        return None, (NO_CLASSES.format(MOST_CLASSES),)
    return np.where(known & (label >= 0), np.where(known, label, 0), IGNORED).astype(np.int64), ()
