"""Files of points and of surfaces as clouds: PLY, OBJ, OFF, STL, GLB, XYZ, NPY, NPZ, LAS.

- ``.ply``, ``.obj``, ``.off``, ``.stl``, ``.glb``: vertices, or where there are faces, points spread evenly over the
  surface.
- ``.xyz``, ``.txt``, ``.pts``, ``.npy``: rows of x, y, z and the channels that are asked for, in their order; columns
  behind those are left out, counted and named. Text is separated by blanks or commas, and what follows a ``#`` is
  passed over. A first line may be the number of points, or names of columns: where those have x, y and z, columns are
  found by their names. Any other first line that is no row is passed over, and told.
- ``.npz``: an array ``points`` (or only one array) as in ``.npy``, or x, y, z alone and arrays named as channels. Other
  arrays are left out, counted and named.
- ``.las``, ``.laz``: with laspy.

Colours are given in [0, 1]: whole numbers are divided by 255, those of LAS by 65535, floats only where one is above 1.
Intensities are as the file has them, but for whole numbers in LAS, divided by 65535. Normals of other lengths than 1
and colours beyond [0, 1] are told, for they may be other columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from unmask import seeds
from unmask.data import Unreadable
from unmask_pointcloud.data.clouds import CHANNELS, Cloud

ROWS = (".xyz", ".txt", ".pts")
SURFACES = (".ply", ".obj", ".off", ".stl", ".glb")
SCANS = (".las", ".laz")
EXTENSIONS = (*SURFACES, *ROWS, ".npy", ".npz", *SCANS)

NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "normals": (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z")),
    "rgb": (("red", "green", "blue"), ("r", "g", "b")),
    "intensity": (("intensity",), ("scalar_intensity",), ("reflectance",), ("i",)),
}
"""What columns of channels are called, in lower case."""

MORE = "clouds have {} columns, of which {} are taken and the others left out"
PASSED = "files begin with a line that is neither a row of numbers nor names of columns, and is passed over"
COUNT = "files say another number of points in their first line than they have"
ARRAYS = "archives have other arrays, which are left out ({})"
LENGTHS = "clouds have normals whose length is not 1: they may be other columns"
COLOURS = "clouds have colours outside of [0, 1] (of whole numbers, [0, 255]): they may be other columns"
"""What can be odd about a file, in words."""


def read_file(path: Path, channels: Sequence[str] = (), num_points: int = 8192) -> Cloud:
    """The cloud ``[n, 3 + C]``.

    Args:
        path: the file, of one of the `EXTENSIONS`.
        channels: that every point must have: ``normals``, ``rgb``, ``intensity``.
        num_points: drawn on a surface, the same ones each time.

    Raises:
        Unreadable: the content is damaged, no cloud, or lacks a channel.
        OSError: the file cannot be opened.
    """
    kind = path.suffix.lower()
    try:
        if kind in SURFACES:
            return cloud_of(*_read_surface(path, channels, num_points), channels)
        if kind in SCANS:
            return cloud_of(*_read_scan(path), channels)
        if kind == ".npz":
            return _read_archive(path, channels)
        if kind in ROWS:
            return _read_rows(path, channels)
        return of_rows(np.load(path, allow_pickle=False), channels)
    except (Unreadable, OSError):
        raise
    except MemoryError:
        raise Unreadable("too large for the memory") from None
    except Exception as error:  # readers raise nearly anything on damaged bytes
        raise Unreadable(str(error).split("\n")[0] or type(error).__name__) from error


def of_rows(rows: np.ndarray, channels: Sequence[str], names: Sequence[str] = ()) -> Cloud:
    """Rows of x, y, z and ``channels`` as a cloud; what follows is left out and told.

    Args:
        rows: ``[n, 3 + C or more]``.
        channels: in the order of the columns.
        names: of the columns, in lower case; where they have x, y and z, columns are found by them.

    Raises:
        Unreadable: too few columns, or no numbers.
    """
    width = 3 + sum(CHANNELS[name] for name in channels)
    if len(names) == (rows.shape[1] if rows.ndim == 2 else 0) and {"x", "y", "z"} <= set(names):
        return _of_named(rows, channels, names)
    if rows.ndim != 2 or rows.shape[1] < width:
        more = f" with {', '.join(channels)}" if channels else ""
        many = "; `pointcloud.npz` reads archives of many clouds" if rows.ndim == 3 else ""
        raise Unreadable(f"points are {list(rows.shape)} instead of [points, {width}]{more}{many}")
    if rows.dtype.kind not in "fiu":
        raise Unreadable(f"points are {rows.dtype} instead of numbers")
    found, start = {}, 3
    for name in channels:
        found[name] = rows[:, start : start + CHANNELS[name]]
        start += CHANNELS[name]
    return cloud_of(rows[:, :3], found, channels, _left_out(rows.shape[1], channels))


def _of_named(rows: np.ndarray, channels: Sequence[str], names: Sequence[str]) -> Cloud:
    found = {}
    for name in channels:
        columns = next((own for own in NAMES[name] if set(own) <= set(names)), None)
        if columns is None:
            raise Unreadable(f"it has no `{name}`, but columns {', '.join(names)}")
        found[name] = rows[:, [names.index(column) for column in columns]]
    places = rows[:, [names.index(axis) for axis in "xyz"]]
    return cloud_of(places, found, channels, _left_out(rows.shape[1], channels))


def _left_out(num_columns: int, channels: Sequence[str]) -> tuple[str, ...]:
    taken = 3 + sum(CHANNELS[name] for name in channels)
    words = ", ".join(("x", "y", "z", *(f"{name} ({CHANNELS[name]})" for name in channels)))
    return (MORE.format(num_columns, words),) if num_columns > taken else ()


def cloud_of(places: np.ndarray, found: Mapping[str, Any], channels: Sequence[str], odd: tuple[str, ...] = ()) -> Cloud:
    """Places and the channels that are asked for.

    Raises:
        Unreadable: it lacks a channel.
    """
    columns = [np.asarray(places, dtype=np.float64)]
    for name in channels:
        if found.get(name) is None:
            raise Unreadable(f"it has no `{name}`")
        values = np.asarray(found[name])
        values = _colours(values) if name == "rgb" else values
        values = np.asarray(values, dtype=np.float64).reshape(len(places), -1)
        real = values[np.isfinite(values).all(1)]
        if name == "normals" and len(real) and abs(np.median(np.linalg.norm(real, axis=1)) - 1) > 0.1:
            odd += (LENGTHS,)
        if name == "rgb" and len(real) and (real.min() < 0 or real.max() > 1):
            odd += (COLOURS,)
        columns.append(values)
    return Cloud(np.concatenate(columns, axis=1), odd=odd)


def _read_surface(path: Path, channels: Sequence[str], num_points: int) -> tuple[np.ndarray, dict[str, Any]]:
    mesh: Any = trimesh.load(path, process=False, maintain_order=True)
    if isinstance(mesh, trimesh.Scene):
        mesh = mesh.to_mesh()
    if not hasattr(mesh, "vertices") or not len(mesh.vertices):
        raise Unreadable("it has no points")
    if not len(getattr(mesh, "faces", ())):
        return _of_vertices(mesh)
    if not np.isfinite(mesh.vertices).all():
        raise Unreadable("a surface with corners that are not finite")
    if not mesh.area > 0:
        raise Unreadable("a surface without an area")
    seed = seeds.mix("surface", path.name)
    coloured = "rgb" in channels and mesh.visual.defined
    places, faces, *colours = trimesh.sample.sample_surface(mesh, num_points, sample_color=coloured, seed=seed)
    found = {"normals": mesh.face_normals[faces]}
    if coloured:
        found["rgb"] = colours[0][:, :3]
    return places, found


def _of_vertices(cloud: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Points without faces; of PLY files also what other columns say, which trimesh keeps as it found it."""
    raw = cloud.metadata.get("_ply_raw", {}).get("vertex", {})
    data, names = raw.get("data", {}), raw.get("properties", {})
    lower = {name.lower(): name for name in names}

    def columns(channel: str) -> np.ndarray | None:
        own = next((one for one in NAMES[channel] if lower.keys() >= set(one)), None)
        return None if own is None else np.stack([np.asarray(data[lower[name]]).ravel() for name in own], 1)

    found = {"normals": columns("normals"), "intensity": columns("intensity")}
    colours = getattr(cloud, "colors", None)
    if colours is not None and len(colours) == len(cloud.vertices):
        found["rgb"] = np.asarray(colours)[:, :3]
    return np.asarray(cloud.vertices), found


def _read_scan(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    import laspy

    scan = laspy.read(path)
    names = set(scan.point_format.dimension_names)
    found: dict[str, Any] = {"intensity": np.asarray(scan.intensity) / 65535}
    if names >= {"red", "green", "blue"}:
        colours = np.stack([np.asarray(scan[name]) for name in ("red", "green", "blue")], 1)
        found["rgb"] = colours / (65535 if colours.size and colours.max() > 255 else 255)  # some write 8 bits
    return np.asarray(scan.xyz), found


def _read_archive(path: Path, channels: Sequence[str]) -> Cloud:
    with np.load(path, allow_pickle=False) as archive:
        files = list(archive.files)
        arrays = {name: archive[name] for name in files if name in ("points", *CHANNELS)}
        if "points" not in arrays:
            if len(files) != 1:
                raise Unreadable(f"it has no array `points`, but {', '.join(files) or 'none'}")
            arrays = {"points": archive[files[0]]}
    points = arrays.pop("points")
    by_name = bool(channels) and set(channels) <= arrays.keys()
    unused = set(files) - {"points" if "points" in files else files[0], *(channels if by_name else ())}
    if not by_name:
        cloud = of_rows(points, channels)
    else:
        for name in channels:
            array = arrays[name]
            if array.reshape(len(array), -1).shape != (len(points), CHANNELS[name]):
                raise Unreadable(f"`{name}` is {list(array.shape)} instead of [{len(points)}, {CHANNELS[name]}]")
        places = of_rows(points, ())
        cloud = cloud_of(places.points, arrays, channels, places.odd)
    return cloud._replace(odd=(*cloud.odd, ARRAYS.format(", ".join(sorted(unused))))) if unused else cloud


def _read_rows(path: Path, channels: Sequence[str]) -> Cloud:
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
        words = first.split("#")[0].replace(",", " ").split()
        names = [word.lower() for word in (words or first.lstrip("#").replace(",", " ").split())]
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
        rows = np.loadtxt(file, delimiter="," if "," in line else None, comments="#", ndmin=2)
    cloud = of_rows(rows, channels, names)
    odd = cloud.odd
    if numbers is None and not {"x", "y", "z"} <= set(names):
        odd += (PASSED,)
    if numbers is not None and len(numbers) == 1 and numbers[0] != len(rows):
        odd += (COUNT,)
    return cloud._replace(odd=odd)


def _colours(values: np.ndarray) -> np.ndarray:
    """In [0, 1]."""
    if values.dtype.kind in "iu" or bool((values[np.isfinite(values)] > 1).any()):
        return values / 255
    return values
