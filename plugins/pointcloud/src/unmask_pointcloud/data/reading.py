"""Files of points and of surfaces as clouds, by their endings.

- ``.ply``, ``.obj``, ``.off``, ``.stl``, ``.glb``, ``.gltf``: vertices, or where there are faces, points spread evenly
  over the surface.
- ``.pcd``: text, binary and compressed.
- ``.xyz``, ``.txt``, ``.pts``, ``.asc``, ``.npy``: rows of x, y, z and the channels that are asked for, in their order,
  or of ``columns``; so is ``.csv``, where it is asked for. Text is separated by blanks, commas or semicolons, and what
  follows a ``#`` is passed over. A first line may be the number of points, or names of columns. Any other first line
  that is no row is passed over, and told. Rows of ``.xyzn`` and ``.xyzrgb`` are x, y, z and normals or colours.
- ``.npz``: an array ``points`` (or only one array) as in ``.npy``, or x, y, z alone and arrays named as channels and
  ``label``. Other arrays are left out, counted and named.
- ``.bin``: rows of float32, x, y, z and intensity as in KITTI, or ``columns``.
- ``.las``, ``.laz``: with laspy.

`unmask_pointcloud.data.columns` says how columns become channels and classes of points. Whole numbers of LAS files are
divided by 65535: colours, and intensities, too.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unmask.data import Unreadable
from unmask_pointcloud.data.clouds import Cloud
from unmask_pointcloud.data.columns import cloud_of, of_columns
from unmask_pointcloud.data.pcd import read_pcd
from unmask_pointcloud.data.rows import read_archive, read_array, read_binary, read_text
from unmask_pointcloud.data.surfaces import read_surface

TEXT = (".xyz", ".txt", ".pts", ".asc", ".xyzn", ".xyzrgb")
SURFACES = (".ply", ".obj", ".off", ".stl", ".glb", ".gltf")
SCANS = (".las", ".laz")
EXTENSIONS = (*SURFACES, ".pcd", *TEXT, ".npy", ".npz", ".bin", *SCANS)
"""Endings of files that count."""
ON_REQUEST = (".csv",)
"""Endings that count where they are asked for: many a table is no cloud."""
RECORD, EXTENDED_RECORD = 54, 60
"""Bytes of the head of a record that a LAS file has before or after its points."""
NAMELESS = (*(set(TEXT) - {".xyzn", ".xyzrgb"}), ".npy", ".npz", ".bin", *ON_REQUEST)
"""Endings of files whose columns may be named by an option."""


def read_file(
    path: Path, channels: Sequence[str] = (), num_points: int | None = 8192, columns: Sequence[str] = ()
) -> Cloud:
    """The cloud ``[n, 3 + C]``, with classes of points where the file has them.

    Args:
        path: the file, of one of the `EXTENSIONS` or `ON_REQUEST`.
        channels: that every point must have: ``normals``, ``rgb``, ``intensity``.
        num_points: drawn on a surface, the same ones each time; None: as many as it has corners.
        columns: names of all columns, in lower case, for `NAMELESS` files; empty: they are not known.

    Raises:
        Unreadable: the content is damaged, no cloud, or lacks a channel.
        OSError: the file cannot be opened.
    """
    kind = path.suffix.lower()
    try:
        if kind in SURFACES:
            return read_surface(path, channels, num_points)
        if kind == ".pcd":
            return of_columns(read_pcd(path), channels)
        if kind in SCANS:
            return _read_scan(path, channels)
        if kind == ".npz":
            return read_archive(path, channels, columns)
        if kind == ".bin":
            return read_binary(path, channels, columns)
        if kind == ".npy":
            return read_array(np.load(path, allow_pickle=False), channels, columns)
        return read_text(path, channels, columns)
    except (Unreadable, OSError):
        raise
    except MemoryError:
        raise Unreadable("too large for the memory") from None
    except Exception as error:  # readers raise nearly anything on damaged bytes
        raise Unreadable(str(error).split("\n")[0] or type(error).__name__) from error


def _read_scan(path: Path, channels: Sequence[str]) -> Cloud:
    import laspy

    _check_scan(path)
    scan = laspy.read(path)
    names = set(scan.point_format.dimension_names)
    found = {"intensity": np.asarray(scan.intensity) / 65535}
    if names >= {"red", "green", "blue"}:
        found["rgb"] = np.stack([np.asarray(scan[name]) for name in ("red", "green", "blue")], 1)  # some write 8 bits
    label = np.asarray(scan.classification)
    return cloud_of(np.asarray(scan.xyz), found, channels, label=label if label.any() else None)  # 0: not classified


def _check_scan(path: Path) -> None:
    """Refuses a header that says more than its file can hold: laspy would go through all of it.

    Raises:
        Unreadable: it does, or is cut off.
    """
    with path.open("rb") as file:
        head = file.read(375)
    if head[:4] != b"LASF" or len(head) < 227:
        raise Unreadable("no LAS file, or its header is cut off")
    begin, first_point, num_records = struct.unpack_from("<HII", head, 94)
    size = path.stat().st_size
    if begin + RECORD * num_records > min(first_point, size):
        raise Unreadable(f"its header says {num_records:,} records before the points, more than there is room for")
    if head[25] >= 4 and len(head) >= 247:
        extended, num_extended = struct.unpack_from("<QI", head, 235)
        if num_extended and extended + EXTENDED_RECORD * num_extended > size:
            raise Unreadable(f"its header says {num_extended:,} records after the points, more than there is room for")
