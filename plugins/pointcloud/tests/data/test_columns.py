"""Columns by their names, whatever kind of file has them; and kinds of files that name none."""

import numpy as np
import pytest

from unmask.data import Unreadable
from unmask_pointcloud.data.columns import checked
from unmask_pointcloud.data.pcd import unpack_lzf
from unmask_pointcloud.data.reading import read_file

RNG = np.random.default_rng(0)
PLACES = RNG.uniform(-1, 1, (40, 3)).astype("<f4")
NORMALS = (PLACES / np.linalg.norm(PLACES, axis=1, keepdims=True)).astype("<f4")
COLOURS = RNG.integers(0, 256, (40, 3)).astype("u1")
LABEL = (np.arange(40) % 4).astype("<u2")
EVERYTHING = np.concatenate([PLACES, NORMALS, COLOURS / 255], axis=1)


def _pcd(how):
    """With normals, a packed colour, PCL's padding and a class for each point."""
    packed = (COLOURS.astype("<u4") << [16, 8, 0]).sum(1).astype("<u4").view("<f4")
    kinds = [(name, "<f4") for name in ("x", "y", "z", "normal_x", "normal_y", "normal_z", "rgb")]
    rows = np.zeros(40, dtype=[*kinds, ("label", "<u2"), ("_", "<f4"), ("ring", "<u2", (2,))])
    for axis, name in enumerate("xyz"):
        rows[name], rows[f"normal_{name}"] = PLACES[:, axis], NORMALS[:, axis]
    rows["rgb"], rows["label"] = packed, LABEL
    head = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z normal_x normal_y normal_z rgb label _ ring\n"
        "SIZE 4 4 4 4 4 4 4 2 4 2\nTYPE F F F F F F F U F U\nCOUNT 1 1 1 1 1 1 1 1 1 2\nWIDTH 40\nHEIGHT 1\n"
        f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 40\nDATA {how}\n"
    ).encode()
    if how == "ascii":
        lines = [" ".join([*(f"{float(v):.9g}" for v in list(row)[:7]), str(row["label"]), "0 1 2"]) for row in rows]
        return head + "\n".join(lines).encode()
    if how == "binary":
        return head + rows.tobytes()
    data = b"".join(np.ascontiguousarray(rows[name]).tobytes() for name in rows.dtype.names)
    small = _packed_lzf(data)
    return head + np.array([len(small), len(data)], "<u4").tobytes() + small


def _packed_lzf(data):
    """Bytes as they are, and each run of a single byte as a repetition of it."""
    made, place = b"", 0
    while place < len(data):
        run = 1
        while place + run < len(data) and data[place + run] == data[place] and run < 200:
            run += 1
        made += bytes([0, data[place]])
        if run - 1 >= 9:
            made += bytes([7 << 5, run - 1 - 9, 0])
        elif run - 1 >= 3:
            made += bytes([(run - 1 - 2) << 5, 0])
        else:
            made += b"".join(bytes([0, data[place]]) for _ in range(run - 1))
        place += run
    return made


@pytest.mark.parametrize("how", ["ascii", "binary", "binary_compressed"])
def test_pcd(how, tmp_path):
    path = tmp_path / "a.pcd"
    path.write_bytes(_pcd(how))
    found = read_file(path, ("normals", "rgb"))
    assert np.allclose(found.points, EVERYTHING, atol=1e-6)
    assert np.array_equal(found.part, LABEL)
    assert found.odd == (("clouds have columns that are left out (ring_0, ring_1)",) if how == "ascii" else found.odd)
    with pytest.raises(Unreadable, match="it has no `intensity`, but columns x, y, z, normal_x"):
        read_file(path, ("intensity",))


def test_damaged_pcd_files(tmp_path):
    whole, path = _pcd("binary"), tmp_path / "a.pcd"
    for content, said in (
        (b"FIELDS x y z\n", "header does not end"),
        (b"FIELDS x y z\nDATA ascii\n", "header has no SIZE"),
        (whole[:-1], r"has 1,519 bytes instead of 1,520"),
        (whole.replace(b"COUNT 1", b"COUNT 2147483648"), r"has 2,147,483,\d+ values, but the file only 1,\d+ bytes"),
        (whole.replace(b"DATA binary", b"DATA zipped"), "ascii, binary or binary_compressed, but is 'zipped'"),
        (_pcd("ascii")[:-20], "."),
        (_pcd("binary_compressed")[:-3], "bytes instead of"),
    ):
        path.write_bytes(content)
        with pytest.raises(Unreadable, match=said):
            read_file(path)


def test_lzf_as_its_library_writes_it():
    """The first is what liblzf makes of 40 times ``ab``, by hand; a repetition may reach into what it makes."""
    assert unpack_lzf(b"\x01ab\xe0\x45\x01", 80) == b"ab" * 40
    assert unpack_lzf(b"\x02abc\x20\x02", 6) == b"abcabc"
    for packed, size, said in (
        (b"\x20\x05", 3, "damaged"), (b"\x01ab\xe0", 80, "ends early"), (b"\x00a", 3, "1 bytes instead of 3"),
    ):  # fmt: skip
        with pytest.raises(Unreadable, match=said):
            unpack_lzf(packed, size)


COLUMNS = ("x", "y", "z", "nx", "ny", "nz", "label")


@pytest.mark.parametrize("kind", ["txt", "csv", "asc", "npy", "npz", "bin"])
def test_columns_that_an_option_names(kind, tmp_path):
    """ShapeNetPart's seven, and a column between them that is left out."""
    path, rows = tmp_path / f"a.{kind}", np.concatenate([PLACES, NORMALS, LABEL[:, None]], axis=1)
    wide = np.insert(rows, 3, 7, axis=1)
    for columns, content in ((COLUMNS, rows), (("x", "y", "z", "_", *COLUMNS[3:]), wide)):
        {
            "npy": lambda content=content: np.save(path, content),
            "npz": lambda content=content: np.savez(path, points=content),
            "bin": lambda content=content: content.astype("<f4").tofile(path),
        }.get(kind, lambda content=content: np.savetxt(path, content, delimiter="," if kind == "csv" else " "))()
        found = read_file(path, ("normals",), columns=columns)
        assert np.allclose(found.points, EVERYTHING[:, :6], atol=1e-6)
        assert np.array_equal(found.part, LABEL)
        assert found.odd == ()
    if kind != "bin":
        with pytest.raises(Unreadable, match=r"points are \[40, 8\] instead of \[points, 7\]: x, y, z, nx"):
            read_file(path, columns=COLUMNS)


def test_columns_must_have_what_is_asked_for():
    assert checked(["X", "y ", "z", "_", "_"], ()) == ("x", "y", "z", "_", "_")
    for columns, said in (
        (["x", "y"], "must have `x`, `y`, `z`"),
        (["x", "y", "z", "x"], "has 'x' twice"),
        (["x", "y", "z", "r", "g"], r"must have the channel 'rgb' \(red, green, blue or r, g, b"),
    ):
        with pytest.raises(ValueError, match=said):
            checked(columns, ("rgb",))


def test_a_first_line_that_names_columns_otherwise_is_told(tmp_path):
    np.savetxt(tmp_path / "a.txt", PLACES, header="z y x", comments="")
    found = read_file(tmp_path / "a.txt", columns=("x", "y", "z"))
    assert np.allclose(found.points, PLACES)
    assert found.odd == ("files name their columns otherwise than `columns`, which counts",)


def test_kitti_and_rows_that_are_not(tmp_path):
    path = tmp_path / "a.bin"
    rows = np.concatenate([PLACES, RNG.uniform(0, 1, (40, 1))], axis=1).astype("<f4")
    rows.tofile(path)
    assert np.allclose(read_file(path, ("intensity",)).points, rows)
    assert read_file(path).odd == ("clouds have columns that are left out (intensity)",)
    np.concatenate([rows, np.full((40, 1), 3)], axis=1).astype("<f4").tofile(path)  # as many bytes as 50 rows of four
    with pytest.raises(Unreadable, match=r"not x, y, z and intensity, which go down to -.*name its `columns`"):
        read_file(path)
    assert np.allclose(read_file(path, columns=("x", "y", "z", "intensity", "ring")).points, PLACES)
    path.write_bytes(b"123456")
    with pytest.raises(Unreadable, match="its 6 bytes are no rows of 4 numbers"):
        read_file(path)


def _ply(names, kinds, rows, faces=""):
    head = ["ply", "format ascii 1.0", f"element vertex {len(rows)}"]
    head += [f"property {kind} {name}" for name, kind in zip(names, kinds, strict=True)]
    head += ["element face 1", "property list uchar int vertex_indices"] if faces else []
    lines = [" ".join(f"{float(value):.9g}" for value in row) for row in rows]
    return "\n".join([*head, "end_header", *lines, faces]) + "\n"


@pytest.mark.parametrize(
    "names", [("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue")]
)
@pytest.mark.parametrize(("kind", "scale"), [("uchar", 1), ("ushort", 257), ("float", 1 / 255)])
def test_colours_of_ply_by_any_name_and_depth(names, kind, scale, tmp_path):
    rows = np.concatenate([PLACES, COLOURS * float(scale), LABEL[:, None]], axis=1)
    kinds = ["float"] * 3 + [kind] * 3 + ["int"]
    (tmp_path / "a.ply").write_text(_ply(["x", "y", "z", *names, "label"], kinds, rows))
    found = read_file(tmp_path / "a.ply", ("rgb",))
    assert np.allclose(found.points[:, 3:], COLOURS / 255, atol=1e-6)
    assert np.array_equal(found.part, LABEL)


def test_colours_and_classes_of_a_surface(tmp_path):
    """As ScanNet has them; a point of the surface is of the class of its nearest corner."""
    rows = [[0, 0, 0, 65535, 0, 0, 1], [1, 0, 0, 65535, 0, 0, 2], [0, 1, 0, 65535, 0, 0, 3]]
    kinds = ["float"] * 3 + ["ushort"] * 4
    names = ["x", "y", "z", "diffuse_red", "diffuse_green", "diffuse_blue", "label"]
    (tmp_path / "a.ply").write_text(_ply(names, kinds, rows, "3 0 1 2"))
    found = read_file(tmp_path / "a.ply", ("rgb",), 200)
    assert found.points.shape == (200, 6) and np.allclose(found.points[:, 3:], [1, 0, 0])
    corners = np.array(rows)[:, :3]
    nearest = np.linalg.norm(found.points[:, None, :3] - corners, axis=2).argmin(1)
    assert np.array_equal(found.part, nearest + 1)


def test_colours_of_text_in_16_bits_are_told(tmp_path):
    np.savetxt(tmp_path / "a.txt", np.concatenate([PLACES, COLOURS * 257.0], axis=1))
    found = read_file(tmp_path / "a.txt", ("rgb",))
    assert np.allclose(found.points[:, 3:], COLOURS / 255)
    assert found.odd == ("clouds have colours above 255, which are read as 16 bits",)


def test_classes_of_points_that_are_none(tmp_path):
    for values, part, odd in (
        ([0, 1, -1, np.nan], [0, 1, -100, -100], 0),
        ([0, 1, 2, 0.5], None, 1),
        ([0, 1, 2, 1e6], None, 1),
    ):
        np.savetxt(tmp_path / "a.txt", np.column_stack([PLACES[:4], values]), header="x y z Class")
        found = read_file(tmp_path / "a.txt")
        assert (None if found.part is None else found.part.tolist()) == part
        assert len(found.odd) == odd


def test_records_cloudcompare_and_open3d(tmp_path):
    records = np.zeros(40, dtype=[("X", "<f8"), ("Y", "<f8"), ("Z", "<f8"), ("Intensity", "<f4")])
    for axis, name in enumerate("XYZ"):
        records[name] = PLACES[:, axis]
    np.save(tmp_path / "a.npy", records)
    assert np.allclose(read_file(tmp_path / "a.npy", ("intensity",)).points[:, :3], PLACES)
    rows = np.concatenate([PLACES, COLOURS], axis=1)
    np.savetxt(tmp_path / "a.asc", rows, delimiter=";", header="//X;Y;Z;R;G;B", comments="")
    assert np.allclose(read_file(tmp_path / "a.asc", ("rgb",)).points, EVERYTHING[:, [0, 1, 2, 6, 7, 8]], atol=1e-6)
    np.savetxt(tmp_path / "a.xyzrgb", np.concatenate([PLACES, COLOURS / 255], axis=1))
    assert np.allclose(read_file(tmp_path / "a.xyzrgb", ("rgb",)).points[:, 3:], COLOURS / 255)
    with pytest.raises(Unreadable, match="no `normals`"):
        read_file(tmp_path / "a.xyzrgb", ("normals",))
