"""PCD files of PCL, ROS and Open3D: text, binary, and binary compressed by LZF (Lehmann 2000).

https://pointclouds.org/documentation/tutorials/pcd_file_format.html
"""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import numpy as np

from unmask.data import Unreadable

NEEDED = ("FIELDS", "SIZE", "TYPE", "POINTS", "DATA")
KINDS = {"F": "f", "I": "i", "U": "u"}


def read_pcd(path: Path) -> dict[str, np.ndarray]:
    """Its fields ``[n]`` by name, in lower case; those of several numbers are ``name_0``, ``name_1``, ...

    Raises:
        Unreadable: no header of a PCD file, or fewer points than it tells.
    """
    content = path.read_bytes()
    head, start = _header(content)
    names = head["FIELDS"]
    counts = [int(word) for word in head.get("COUNT", ["1"] * len(names))]
    if min(counts) < 0 or sum(counts) > len(content):
        raise Unreadable(f"a point of it has {sum(counts):,} values, but the file only {len(content):,} bytes")
    kinds = [np.dtype(f"<{KINDS[kind]}{size}") for kind, size in zip(head["TYPE"], head["SIZE"], strict=True)]
    fields = [
        (name.lower() if count == 1 else f"{name.lower()}_{number}", kind)
        for name, kind, count in zip(names, kinds, counts, strict=True)
        for number in range(count)
    ]
    columns = [(f"{place}" if name.startswith("_") else name, kind) for place, (name, kind) in enumerate(fields)]
    num_points, how = int(head["POINTS"][0]), head["DATA"][0].lower()
    if how == "ascii":
        found = _text(content[start:], columns, num_points)
    elif how == "binary":
        found = _rows(content[start:], columns, num_points)
    elif how == "binary_compressed":
        found = _compressed(content[start:], columns, num_points)
    else:
        raise Unreadable(f"its DATA must be ascii, binary or binary_compressed, but is {how!r}")
    return {name: found[name] for name, _ in columns if not name.isdigit()}  # numbers stand for PCL's padding


def _header(content: bytes) -> tuple[dict[str, list[str]], int]:
    """Words by key, and where the data begins."""
    head: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in head:
        end = content.find(b"\n", start)
        if end < 0:
            raise Unreadable("its header does not end")
        words = content[start:end].split(b"#")[0].decode("ascii", errors="replace").split()
        if words:
            head[words[0].upper()] = words[1:]
        start = end + 1
    if "POINTS" not in head and {"WIDTH", "HEIGHT"} <= head.keys():
        head["POINTS"] = [str(int(head["WIDTH"][0]) * int(head["HEIGHT"][0]))]
    missing = [key for key in NEEDED if not head.get(key)]
    if missing:
        raise Unreadable(f"its header has no {missing[0]}")
    return head, start


def _text(data: bytes, columns: list[tuple[str, np.dtype]], num_points: int) -> dict[str, np.ndarray]:
    rows = np.loadtxt(BytesIO(data), dtype=str, ndmin=2, max_rows=num_points or None, comments=None)
    if rows.shape != (num_points, len(columns)):
        raise Unreadable(f"its points are {list(rows.shape)} instead of [{num_points}, {len(columns)}]")
    return {name: rows[:, place].astype(kind) for place, (name, kind) in enumerate(columns)}


def _rows(data: bytes, columns: list[tuple[str, np.dtype]], num_points: int) -> dict[str, np.ndarray]:
    kind = np.dtype(columns)
    _enough(len(data), kind.itemsize * num_points)
    rows = np.frombuffer(data, dtype=kind, count=num_points)
    return {name: rows[name] for name, _ in columns}


def _compressed(data: bytes, columns: list[tuple[str, np.dtype]], num_points: int) -> dict[str, np.ndarray]:
    """One field after the other."""
    _enough(len(data), 8)
    small, large = struct.unpack("<II", data[:8])
    _enough(len(data) - 8, small)
    _enough(large, np.dtype(columns).itemsize * num_points)
    plain = unpack_lzf(data[8 : 8 + small], large)
    found, start = {}, 0
    for name, kind in columns:
        found[name] = np.frombuffer(plain, dtype=kind, count=num_points, offset=start)
        start += kind.itemsize * num_points
    return found


def unpack_lzf(packed: bytes, size: int) -> bytes:
    """The ``size`` bytes that LZF packed.

    Raises:
        Unreadable: other bytes than LZF writes.
    """
    made = bytearray()
    place = 0
    try:
        while place < len(packed):
            control = packed[place]
            place += 1
            if control < 32:  # that many bytes and one as they are
                made += packed[place : place + control + 1]
                place += control + 1
                continue
            length = control >> 5  # of a repetition, less 2
            if length == 7:
                length += packed[place]
                place += 1
            back = ((control & 31) << 8) + packed[place] + 1
            place += 1
            first = len(made) - back
            if first < 0:
                raise Unreadable("its compressed data is damaged")
            length += 2
            piece = made[first : first + length]
            made += (piece * (length // len(piece) + 1))[:length]  # it may reach into what it makes
    except IndexError:
        raise Unreadable("its compressed data ends early") from None
    if len(made) != size:
        raise Unreadable(f"its compressed data has {len(made):,} bytes instead of {size:,}")
    return bytes(made)


def _enough(found: int, needed: int) -> None:
    if found < needed:
        raise Unreadable(f"its data has {found:,} bytes instead of {needed:,}")
