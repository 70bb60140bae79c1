"""Point files, and archives of clouds."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

import numpy as np

from fuzzing import bombs
from fuzzing.case import Case, Files, Read, batches
from fuzzing.tables import labels_table

POINTS = np.random.default_rng(0).normal(size=(48, 3)).astype(np.float32)
TEXTS = (".xyz", ".txt", ".pts", ".asc", ".obj", ".off", "t.ply", "t.pcd", ".csv", ".gltf", "t.stl", ".xyzn")


def pcd(how: str, num_points: int = 48, content: bytes | None = None) -> bytes:
    head = (
        "VERSION .7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
        f"WIDTH {num_points}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {num_points}\nDATA {how}\n"
    )
    rows = np.hstack([POINTS, POINTS[:, :1]])
    if content is None:
        content = (
            rows.tobytes() if how == "binary" else "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()
        )
        if how == "binary_compressed":
            plain = rows.T.tobytes()
            packed = b"".join(bytes([len(plain[i : i + 32]) - 1]) + plain[i : i + 32] for i in range(0, len(plain), 32))
            content = struct.pack("<II", len(packed), len(plain)) + packed
    return head.encode() + content


@cache
def corpus() -> Files:
    import laspy
    import trimesh

    made: Files = {}
    box = trimesh.creation.icosphere(subdivisions=1)
    box.visual.vertex_colors = np.tile([9, 99, 200, 255], (len(box.vertices), 1))
    for ending in ("ply", "obj", "off", "stl", "glb", "gltf"):
        exported = box.export(file_type=ending)
        if isinstance(exported, dict):
            exported = exported["model.gltf"]
        made[f"a.{ending}"] = exported.encode() if isinstance(exported, str) else exported
    made["t.ply"] = box.export(file_type="ply", encoding="ascii")
    made["t.stl"] = box.export(file_type="stl_ascii").encode()
    made["p.ply"] = trimesh.PointCloud(POINTS).export(file_type="ply")
    text = "".join(" ".join(f"{value:.4f}" for value in row) + "\n" for row in POINTS)
    made |= {
        "a.xyz": text.encode(),
        "a.pts": f"48\n{text}".encode(),
        "a.txt": f"x y z\n{text}".encode(),
        "a.asc": text.replace(" ", ",").encode(),
    }
    made |= {"t.pcd": pcd("ascii"), "b.pcd": pcd("binary"), "c.pcd": pcd("binary_compressed")}
    made["a.bin"] = np.abs(np.hstack([POINTS, POINTS[:, :1]])).tobytes()
    for name, save in (
        ("a.npy", lambda file: np.save(file, POINTS)),
        ("a.npz", lambda file: np.savez_compressed(file, points=POINTS, label=np.arange(48))),
    ):
        file = io.BytesIO()
        save(file)
        made[name] = file.getvalue()
    scan = laspy.create(point_format=3, file_version="1.2")
    scan.x, scan.y, scan.z = POINTS.T
    file = io.BytesIO()
    scan.write(file)
    made["a.las"] = file.getvalue()
    return made


def lies(case: Case) -> tuple[str, bytes]:
    ply = b"ply\nformat binary_little_endian 1.0\nelement vertex %s\n"
    ply += b"property float x\nproperty float y\nproperty float z\nend_header\n"
    many = (b"999999999999", b"2147483648", b"-1", b"100000000")
    made: dict[str, Any] = {
        "n.ply": lambda: ply % case.rng.choice(many) + b"\0" * 60,
        "list.ply": lambda: (
            ply.replace(b"end_header", b"element face 99999999\nproperty list uint uint vertex_indices\nend_header")
            % b"3"
            + b"\0" * 36
            + b"\xff" * 60
        ),
        "n.pcd": lambda: pcd(
            case.rng.choice(("ascii", "binary", "binary_compressed")), case.rng.choice((10**12, 2**31, 10**8, 0, -1))
        ),
        "lzf.pcd": lambda: pcd("binary_compressed", 48, struct.pack("<II", 60, 2**32 - 1) + b"\xe0\xff\x00" * 20),
        "lzf2.pcd": lambda: pcd(
            "binary_compressed", 10**8, struct.pack("<II", 3 * 10**6, 16 * 10**8) + b"\0a" + b"\xe0\xff\x00" * 10**6
        ),
        "bomb.npz": lambda: bombs.npz("points", (2**28, 3)),
        "n.off": lambda: b"OFF\n999999999 999999999 0\n0 0 0\n",
        "n.stl": lambda: b"\0" * 80 + struct.pack("<I", 2**32 - 1) + b"\0" * 50,
        "n.glb": lambda: b"glTF" + struct.pack("<III", 2, 2**31, 2**31) + b"JSON" + b"{" * 50,
        "file.gltf": lambda: (
            b'{"asset":{"version":"2.0"},"buffers":[{"uri":"../../../../etc/passwd","byteLength":10}],"bufferViews":[{"buffer":0,"byteLength":10}],"accessors":[{"bufferView":0,"componentType":5126,"count":99999999999,"type":"VEC3"}],"meshes":[{"primitives":[{"attributes":{"POSITION":0}}]}],"nodes":[{"mesh":0,"children":[0]}],"scenes":[{"nodes":[0]}],"scene":0}'
        ),
        "mtl.obj": lambda: (
            b"mtllib ../../../../etc/passwd\nmtllib /dev/zero\nusemtl x\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
        ),
        "far.obj": lambda: b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 99999999\nf -1 -2 -99\n",
        "cells.xyz": lambda: b"1 2 " + b"3" * 10**6 + b"\n",
        "fields.xyz": lambda: b"1 " * 10**6 + b"\n",
        "nan.xyz": lambda: b"nan nan nan\n" * 40,
        "huge.xyz": lambda: b"1e308 -1e308 1e308\n" * 40,
        "same.xyz": lambda: b"1 1 1\n" * 40,
    }
    name = case.rng.choice(sorted(made))
    return name, made[name]()


def cloud_folder(case: Case) -> Read:
    from unmask_pointcloud.data import PointCloudFilesData

    case.spoil(corpus(), TEXTS)
    if case.chance(0.15):
        name, content = lies(case)
        case.write(f"a/{name}", content)
    options: dict[str, Any] = {"labels": case.rng.choice((None, "folder"))}
    if case.chance(0.1):
        options = labels_table(case)
    if case.chance(0.1):
        options["channels"] = case.rng.choice((("normals",), ("rgb",), ("intensity",)))
    return lambda: batches(
        PointCloudFilesData(str(case.data), num_points=16, stored_points=40, batch_size=2, num_workers=0, **options)
    )


def cloud_archives(case: Case) -> Read:
    from unmask_pointcloud.data import NpzCloudsData

    clouds = np.random.default_rng(0).normal(size=(8, 40, 3)).astype(np.float32)
    odd: tuple[dict[str, Any], ...] = (
        {"label": np.arange(8) * 10**8},
        {"label": np.full(8, -(2**62))},
        {"points": clouds[0]},
        {"points": clouds.astype(complex)},
        {"part": np.full((8, 40), 10**9)},
        {"classes": np.array(["a"])},
        {"points": clouds * np.nan},
        {"points": clouds[:, :0]},
        {"points": np.array([["a"]])},
        {"label": np.arange(8) / 3},
        {"points": clouds * np.float32(3e38)},
        {"part": np.zeros((8, 39), int)},
        {"points": np.zeros((8, 40), dtype=[("x", "f4"), ("y", "f4"), ("z", "f4")])},
        {"classes": np.array([["a", "b"]] * 8)},
    )
    arrays = {
        "points": clouds,
        "label": np.arange(8) % 3,
        "part": np.zeros((8, 40), int),
        "classes": np.array(["a", "b", "c"]),
    }
    file = io.BytesIO()
    choice = case.rng.randrange(10)
    np.savez_compressed(file, **(arrays | case.rng.choice(odd)) if choice < 4 else arrays)
    content = file.getvalue() if choice < 4 else case.spoilt(file.getvalue())
    if choice == 9:
        content = bombs.npz("points", (2**12, 2**16, 3))
    path = case.write("clouds.npz", content)
    return lambda: batches(NpzCloudsData(str(path), num_points=16, stored_points=40, batch_size=2, num_workers=0))


KINDS = {"point files": cloud_folder, "cloud archives": cloud_archives}
