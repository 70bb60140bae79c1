"""Rows of numbers as clouds: text, NumPy arrays and archives, and bare float32 as in KITTI (Geiger et al. 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unmask.data import Unreadable, read_npz
from unmask_pointcloud.data.clouds import CHANNELS, Cloud
from unmask_pointcloud.data.columns import AXES, cloud_of, of_columns, of_rows

KITTI = (*AXES, "intensity")
BY_ENDING = {".xyzn": (*AXES, "nx", "ny", "nz"), ".xyzrgb": (*AXES, "r", "g", "b")}
"""Columns that an ending stands for, as in Open3D."""
SEPARATORS = ",;"
LABEL = "label"
"""An archive's array of classes of points."""

PASSED = "files begin with a line that is neither a row of numbers nor names of columns, and is passed over"
RENAMED = "files name their columns otherwise than `columns`, which counts"
COUNT = "files say another number of points in their first line than they have"
ARRAYS = "archives have other arrays, which are left out ({})"
"""What can be odd about a file, in words."""


def read_text(path: Path, channels: Sequence[str], columns: Sequence[str]) -> Cloud:
    """Lines of numbers, perhaps with a first line of names or of the number of points."""
    given = tuple(BY_ENDING.get(path.suffix.lower(), columns))
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
        words = _words(first.split("#")[0])
        names = [word.strip("\"'").lower() for word in (words or _words(first.lstrip("#")))]
        names = [name.lstrip("/") for name in names]  # CloudCompare's first line begins with two
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            numbers = None
        if numbers is not None and len(numbers) != 1:  # a row, or nothing
            file.seek(0)
        start = file.tell()
        line = next((line for line in iter(file.readline, "") if line.split("#")[0].strip()), "")
        if not line:
            raise Unreadable("it has no points")
        file.seek(start)
        delimiter = next((mark for mark in SEPARATORS if mark in line), None)
        rows = np.loadtxt(file, delimiter=delimiter, comments="#", ndmin=2)
    told = set(AXES) <= set(names)
    odd: tuple[str, ...] = ()
    if numbers is None and not told:
        odd += (PASSED,)
    if told and given and tuple(names) != given:
        odd += (RENAMED,)
    if numbers is not None and len(numbers) == 1 and numbers[0] != len(rows):
        odd += (COUNT,)
    own = tuple(names) if told and len(names) == rows.shape[1] and len(set(names)) == len(names) else ()
    return of_rows(rows, channels, given or own, odd)


def read_array(array: np.ndarray, channels: Sequence[str], columns: Sequence[str]) -> Cloud:
    """An array of rows, or of records with names."""
    if array.dtype.names and array.ndim == 1:
        return of_columns({name.lower(): array[name] for name in array.dtype.names}, channels)
    return of_rows(array, channels, columns)


def read_binary(path: Path, channels: Sequence[str], columns: Sequence[str]) -> Cloud:
    """Bare float32, without a header: what the rows are is known by ``columns`` alone, or taken to be KITTI's."""
    names = tuple(columns) or KITTI
    numbers = np.fromfile(path, dtype="<f4")
    if not len(numbers) or path.stat().st_size % (4 * len(names)):
        raise Unreadable(
            f"its {path.stat().st_size:,} bytes are no rows of {len(names)} numbers in float32 ({', '.join(names)}); "
            "`columns` names others"
        )
    rows = numbers.reshape(-1, len(names))
    if not columns and bool((rows[:, 3] < 0).any()):  # rows of another width look like that
        raise Unreadable(
            f"its rows of 4 float32 are not x, y, z and intensity, which go down to {rows[:, 3].min():.4g}; name its "
            "`columns`"
        )
    return of_rows(rows, channels, names)


def read_archive(path: Path, channels: Sequence[str], columns: Sequence[str]) -> Cloud:
    """An array ``points``, or the only one; channels and classes of points in it or in arrays of their names."""
    arrays, files = read_npz(path, ("points", LABEL, *CHANNELS))
    if "points" not in arrays:
        if len(files) != 1:
            raise Unreadable(f"it has no array `points`, but {', '.join(files) or 'none'}")
        arrays = {"points": read_npz(path)[0][files[0]]}
    points, label = arrays.pop("points"), arrays.pop(LABEL, None)
    if label is not None and label.shape != points.shape[:1]:  # the cloud's, perhaps
        label = None
    by_name = bool(channels) and set(channels) <= arrays.keys()
    unused = set(files) - {"points" if "points" in files else files[0], *(channels if by_name else ())}
    unused -= set() if label is None else {LABEL}
    if not by_name:
        cloud = read_array(points, channels, columns)
    else:
        for name in channels:
            array = arrays[name]
            if array.reshape(len(array), -1).shape != (len(points), CHANNELS[name]):
                raise Unreadable(f"`{name}` is {list(array.shape)} instead of [{len(points)}, {CHANNELS[name]}]")
        places = read_array(points, (), columns)
        cloud = cloud_of(places.points, arrays, channels, places.odd)._replace(part=places.part)
    if label is not None:
        named = cloud_of(cloud.points[:, :3], {}, (), label=label)
        cloud = cloud._replace(part=named.part, odd=cloud.odd + named.odd)
    return cloud._replace(odd=(*cloud.odd, ARRAYS.format(", ".join(sorted(unused))))) if unused else cloud


def _words(line: str) -> list[str]:
    for mark in SEPARATORS:
        line = line.replace(mark, " ")
    return line.split()
