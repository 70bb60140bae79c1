"""Every kind of file gives the same cloud; damaged ones are refused in plain words."""

import numpy as np
import pytest
import trimesh

from unmask.data import Unreadable
from unmask_pointcloud.data.reading import read_file
from unmask_pointcloud.ply import ply_bytes

RNG = np.random.default_rng(0)
PLACES = RNG.uniform(-1, 1, (40, 3))
NORMALS = PLACES / np.linalg.norm(PLACES, axis=1, keepdims=True)
COLOURS = RNG.integers(0, 256, (40, 3))
INTENSITY = RNG.uniform(0, 1, (40, 1))
EVERYTHING = np.concatenate([PLACES, NORMALS, COLOURS / 255, INTENSITY], axis=1)
CHANNELS = ("normals", "rgb", "intensity")


def _ply_text():
    names = ["x", "y", "z", "nx", "ny", "nz", "red", "green", "blue", "scalar_Intensity"]
    kinds = ["double"] * 6 + ["uchar"] * 3 + ["double"]
    head = ["ply", "format ascii 1.0", f"element vertex {len(PLACES)}"]
    head += [f"property {kind} {name}" for kind, name in zip(kinds, names, strict=True)] + ["end_header"]
    rows = np.concatenate([PLACES, NORMALS, COLOURS, INTENSITY], axis=1)
    told = [" ".join(str(int(v)) if 6 <= i < 9 else repr(float(v)) for i, v in enumerate(row)) for row in rows]
    return "\n".join(head + told) + "\n"


WRITERS = {
    "a.ply": lambda path: path.write_text(_ply_text()),
    "a.npy": lambda path: np.save(path, EVERYTHING),
    "a.xyz": lambda path: np.savetxt(path, EVERYTHING, fmt="%.17g"),
    "comma.txt": lambda path: np.savetxt(path, EVERYTHING, fmt="%.17g", delimiter=",", header="x,y,z", comments=""),
    "counted.pts": lambda path: np.savetxt(path, EVERYTHING, fmt="%.17g", header="40", comments=""),
    "rows.npz": lambda path: np.savez(path, anything=EVERYTHING),
    "named.npz": lambda path: np.savez(
        path, points=PLACES, normals=NORMALS, rgb=COLOURS.astype(np.uint8), intensity=INTENSITY[:, 0]
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_kinds_of_files_with_channels(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path)
    assert np.allclose(read_file(path, CHANNELS).points, EVERYTHING, rtol=0, atol=1e-6)
    assert np.allclose(
        read_file(path, ("rgb",) if "named" in name or "ply" in name else CHANNELS).points[:, :3], PLACES
    )
    assert np.allclose(read_file(path).points, PLACES)


def test_las(tmp_path):
    laspy = pytest.importorskip("laspy")
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.scales, header.offsets = np.full(3, 1e-6), np.array([4e6, 5e6, 0])
    scan = laspy.LasData(header)
    scan.x, scan.y, scan.z = (PLACES + header.offsets).T
    scan.intensity = (INTENSITY[:, 0] * 65535).astype(np.uint16)
    scan.red, scan.green, scan.blue = (COLOURS * 257).T
    scan.write(tmp_path / "a.las")
    cloud = read_file(tmp_path / "a.las", ("rgb", "intensity")).points
    assert np.allclose(cloud[:, :3] - header.offsets, PLACES, atol=1e-6)
    assert np.allclose(cloud[:, 3:6], COLOURS / 255)
    assert np.allclose(cloud[:, 6:], INTENSITY, atol=1e-4)
    with pytest.raises(Unreadable, match="no `normals`"):
        read_file(tmp_path / "a.las", ("normals",))


@pytest.mark.parametrize("kind", ["ply", "obj", "off", "stl", "glb"])
def test_surfaces_are_sampled_by_area(kind, tmp_path):
    """A box of 1 x 2 x 3: each face has its share of the points, which lie on it with its normal."""
    box = trimesh.creation.box((1, 2, 3))
    box.export(tmp_path / f"box.{kind}")
    points = read_file(tmp_path / f"box.{kind}", ("normals",), 11_000).points
    assert points.shape == (11_000, 6)
    shares = [(np.abs(np.abs(points[:, axis]) - half) < 1e-6).mean() for axis, half in enumerate((0.5, 1.0, 1.5))]
    assert np.allclose(shares, [6 / 11, 3 / 11, 2 / 11], atol=0.02)
    on = (points[:, :3] * points[:, 3:]).sum(1)  # distance of the face along its normal
    assert np.allclose(on, np.abs(points[:, 3:]) @ [0.5, 1.0, 1.5], atol=1e-6)
    assert np.array_equal(points, read_file(tmp_path / f"box.{kind}", ("normals",), 11_000).points)


def test_vertices_without_faces_are_points(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 2 0\n")
    (tmp_path / "a.off").write_text("OFF\n3 0 0\n0 0 0\n1 0 0\n0 2 0\n")
    (tmp_path / "a.ply").write_bytes(ply_bytes(np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0.0]])))
    for kind in ("obj", "off", "ply"):
        assert read_file(tmp_path / f"a.{kind}").points.tolist() == [[0, 0, 0], [1, 0, 0], [0, 2, 0]]


def test_off_files_of_modelnet_without_a_first_line_break(tmp_path):
    (tmp_path / "a.off").write_text("OFF4 4 6\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n")
    assert read_file(tmp_path / "a.off", num_points=50).points.shape == (50, 3)


def test_colours_of_a_surface(tmp_path):
    box = trimesh.creation.box()
    box.visual.vertex_colors = np.tile([255, 0, 51, 255], (8, 1))
    box.export(tmp_path / "a.ply")
    assert np.allclose(read_file(tmp_path / "a.ply", ("rgb",), 30).points[:, 3:], [1, 0, 0.2])
    trimesh.creation.box().export(tmp_path / "plain.off")
    with pytest.raises(Unreadable, match="no `rgb`"):
        read_file(tmp_path / "plain.off", ("rgb",), 30)


BAD = {
    "empty.ply": (b"", "ply"),
    "cut.ply": (
        b"ply\nformat binary_little_endian 1.0\nelement vertex 100\nproperty float x\nproperty float y\n"
        b"property float z\nend_header\n1234", "length",
    ),
    "empty.xyz": (b"", "no points"),
    "comments.xyz": (b"# nothing\n# more\n", "no points"),
    "words.xyz": (b"C 0 0 0\nH 1 0 0\n", "could not convert"),
    "two.xyz": (b"0 1\n2 3\n", r"\[2, 2\] instead of \[points, 3\]"),
    "ragged.xyz": (b"0 1 2\n3 4\n", "columns"),
    "bytes.txt": (b"\xff\xfe\x00\x01", "utf-8"),
    "not.npy": (b"0 1 2", "."),
    "not.npz": (b"0 1 2", "."),
    "empty.obj": (b"", "."),
    "flat.off": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n", "without an area"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_damaged_files(name, tmp_path):
    content, said = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unreadable, match=said) as caught:
        read_file(tmp_path / name)
    assert "\n" not in str(caught.value) and str(caught.value)


def test_pickles_are_not_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Unreadable, match="allow_pickle"):
        read_file(tmp_path / "a.npy")


def test_arrays_of_other_widths_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 4)))
    with pytest.raises(Unreadable, match=r"\[5, 4\] instead of \[points, 6\] with normals"):
        read_file(tmp_path / "a.npy", ("normals",))
    np.savez(tmp_path / "a.npz", points=np.zeros((5, 3)), normals=np.zeros((4, 3)))
    with pytest.raises(Unreadable, match=r"`normals` is \[4, 3\] instead of \[5, 3\]"):
        read_file(tmp_path / "a.npz", ("normals",))
    np.savez(tmp_path / "b.npz", first=np.zeros((5, 3)), second=np.zeros((5, 3)))
    with pytest.raises(Unreadable, match="no array `points`, but first, second"):
        read_file(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", points=np.zeros((2, 5, 3)))
    with pytest.raises(Unreadable, match=r"`pointcloud\.npz` reads archives of many clouds"):
        read_file(tmp_path / "c.npz")


SHAPENET = np.concatenate([PLACES, NORMALS, np.arange(40)[:, None] % 4], axis=1)
"""x, y, z, a normal and a class, as ShapeNet's parts are passed on."""
WIDE = {
    "a.txt": lambda path: np.savetxt(path, SHAPENET, fmt="%.17g"),
    "a.npy": lambda path: np.save(path, SHAPENET),
    "a.npz": lambda path: np.savez(path, points=SHAPENET),
}


@pytest.mark.parametrize("name", WIDE)
def test_more_columns_than_are_asked_for_are_left_out_and_told(name, tmp_path):
    WIDE[name](tmp_path / name)
    found = read_file(tmp_path / name, ("normals",))
    assert np.allclose(found.points, SHAPENET[:, :6])
    assert found.odd == ("clouds have 7 columns, of which x, y, z, normals (3) are taken and the others left out",)
    found = read_file(tmp_path / name)
    assert np.allclose(found.points, PLACES)
    assert found.odd == ("clouds have 7 columns, of which x, y, z are taken and the others left out",)


def test_columns_are_found_by_their_names(tmp_path):
    """Colours come before normals, and a class before an intensity: by place, both would be wrong."""
    rows = np.concatenate([PLACES, COLOURS, NORMALS, np.ones((40, 1)), INTENSITY], axis=1)
    path = tmp_path / "a.txt"
    for first, comments in (
        ("X,Y,Z,R,G,B,nx,ny,nz,label,Intensity", ""),
        ("x y z r g b nx ny nz label intensity", "# "),
    ):
        delimiter = "," if "," in first else " "
        np.savetxt(path, rows, fmt="%.17g", delimiter=delimiter, header=first, comments=comments)
        assert np.allclose(read_file(path, CHANNELS).points, EVERYTHING)
    np.savetxt(path, rows[:, :7], fmt="%.17g", header="x y z r g b label", comments="")
    with pytest.raises(Unreadable, match="it has no `normals`, but columns x, y, z, r, g, b, label"):
        read_file(path, ("normals",))


def test_a_first_line_that_is_no_row_is_told(tmp_path):
    rows = "\n".join(" ".join(map(repr, row)) for row in PLACES.tolist())
    path = tmp_path / "a.xyz"
    for first, count, odd in (
        ("0.1 0.2 O.3", 40, "files begin with a line that is neither a row of numbers nor names of columns"),
        ("41", 40, "files say another number of points in their first line than they have"),
        ("40", 40, ""),
        ("# made by hand", 40, ""),
        ("0.1 0.2 0.3", 41, ""),
        ("\ufeff0.1 0.2 0.3", 41, ""),
    ):
        path.write_text(f"{first}\n{rows}\n", encoding="utf-8")
        found = read_file(path)
        assert (len(found.points), len(found.odd)) == (count, int(odd != "")), first
        assert all(one.startswith(odd) for one in found.odd)


def test_channels_that_may_be_other_columns_are_told(tmp_path):
    np.save(tmp_path / "a.npy", np.concatenate([PLACES, 7 * NORMALS], axis=1))
    assert "whose length is not 1" in read_file(tmp_path / "a.npy", ("normals",)).odd[0]
    assert "colours outside of [0, 1]" in read_file(tmp_path / "a.npy", ("rgb",)).odd[0]


def test_colours_beside_one_that_is_infinite(tmp_path):
    """It is the point that is left out, not the scale of the others."""
    colours = COLOURS / 255
    colours[3, 1] = np.inf
    np.save(tmp_path / "a.npy", np.concatenate([PLACES, colours], axis=1))
    assert np.array_equal(read_file(tmp_path / "a.npy", ("rgb",)).points[:, 3:], colours)


def test_other_arrays_of_an_archive_are_told(tmp_path):
    np.savez(tmp_path / "a.npz", points=PLACES, normals=NORMALS, weight=np.zeros(40))
    assert read_file(tmp_path / "a.npz", ("normals",)).odd == (
        "archives have other arrays, which are left out (weight)",
    )
    assert read_file(tmp_path / "a.npz").odd == ("archives have other arrays, which are left out (normals, weight)",)


def test_a_scan_whose_header_says_too_much_is_refused_at_once(tmp_path):
    laspy = pytest.importorskip("laspy")
    scan = laspy.create(point_format=3, file_version="1.4")
    scan.x, scan.y, scan.z = np.ones((3, 8))
    path = tmp_path / "a.las"
    scan.write(path)
    good = path.read_bytes()
    for place, told in ((100, "records before the points"), (243, "records after the points")):
        path.write_bytes(good[:place] + b"\xff\xff\xff\x7f" + good[place + 4 :])
        with pytest.raises(Unreadable, match=told):
            read_file(path)
    path.write_bytes(good[:90])
    with pytest.raises(Unreadable, match="cut off"):
        read_file(path)
