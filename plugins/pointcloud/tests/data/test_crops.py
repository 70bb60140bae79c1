"""Scans in crops: every point in exactly one, none of a part to train on in one to validate on."""

import numpy as np
import pytest
import torch
import trimesh

from unmask.data import Findings
from unmask_pointcloud.data import PointCloudFilesData
from unmask_pointcloud.data.crops import gridded, halved

RNG = np.random.default_rng(0)
SCAN = np.concatenate([RNG.uniform((0, 0, 0), (40, 10, 3), (4000, 3)), RNG.integers(0, 9, (4000, 1))], axis=1)
OPTIONS = {
    "num_points": 64, "stored_points": 1000, "batch_size": 2, "num_workers": 0, "normalize": "none",
    "columns": ("x", "y", "z", "label"),
}  # fmt: skip


def _kept(data):
    """All points of the parts, and the boxes around their crops."""
    found = [part.points for part in data.parts]
    return found, [[(one.min(0), one.max(0)) for one in part] for part in found]


@pytest.mark.parametrize("cut", [{"points_per_crop": 300}, {"crop_size": 5.0}])
def test_every_point_of_one_scan_is_in_one_crop(cut, tmp_path, capsys):
    np.save(tmp_path / "hall.npy", SCAN)
    data = PointCloudFilesData(str(tmp_path), val_ratio=0.2, **cut, **OPTIONS)
    data.setup("fit")
    told = capsys.readouterr().out
    assert "1 scan is cut, and crops to validate on are those at its far x end: hall.npy." in told
    parts, _ = _kept(data)
    every = np.concatenate([one for part in parts for one in part])
    assert np.array_equal(np.sort(every, axis=0), np.sort(SCAN[:, :3].astype(np.float32), axis=0))
    train, val = (np.concatenate(part) for part in parts)
    assert 0.15 < len(val) / len(every) < 0.35
    assert np.median(train[:, 0]) < np.median(val[:, 0])
    batch = next(iter(data.train_dataloader()))
    assert batch["points"].shape == (2, 64, 3) and batch["part"].min() >= 0
    assert all(name.startswith("hall.npy@") for name in batch["name"])
    names = [item.name for part in data.parts for item in part.items]
    assert len(set(names)) == len(names) > 4


def test_several_scans_are_held_out_whole(tmp_path, capsys):
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", SCAN + number)
    (tmp_path / "damaged.npy").write_bytes(b"x")
    data = PointCloudFilesData(str(tmp_path), points_per_crop=500, **OPTIONS)
    data.setup("fit")
    scans = [{item.name.partition("@")[0] for item in part.items} for part in data.parts]
    assert sorted(map(len, scans)) == [1, 2] and not scans[0] & scans[1]
    assert [len(part) for part in data.splits[:2]] == [16, 8]
    assert "1 cannot be used and are left out: damaged.npy (" in capsys.readouterr().out


def test_crops_of_a_folder_to_validate_on_and_classes(tmp_path):
    for folder in ("train", "val"):
        for kind in ("a", "b"):
            (tmp_path / folder / kind).mkdir(parents=True)
            np.save(tmp_path / folder / kind / "0.npy", SCAN)
    data = PointCloudFilesData(
        str(tmp_path / "train"), val_folder=str(tmp_path / "val"), points_per_crop=1000, **OPTIONS
    )
    data.setup("fit")
    assert data.classes == ["a", "b"]
    assert [sample["label"] for sample in data.splits.val] == [0] * 4 + [1] * 4
    assert len(data.splits.probe_train) == 8


def test_other_data_is_cut_likewise_and_whole(tmp_path):
    """As `unmask apply` reads it."""
    np.save(tmp_path / "a.npy", SCAN)
    data = PointCloudFilesData("nowhere", points_per_crop=500, **OPTIONS).elsewhere(str(tmp_path))
    data.setup("validate")
    assert [len(part) for part in data.everything().values()] == [8]


def test_halves():
    """Pieces are of nearly one size, and boxes that do not overlap."""
    pieces = list(halved(SCAN[:, :3], np.arange(len(SCAN)), 300))
    assert sorted(np.concatenate(pieces)) == list(range(len(SCAN)))
    sizes = [len(piece) for piece in pieces]
    assert len(pieces) == 14 and max(sizes) <= 300 and max(sizes) - min(sizes) <= 3
    boxes = [(SCAN[piece, :3].min(0), SCAN[piece, :3].max(0)) for piece in pieces]
    for number, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:number]:
            assert (np.minimum(high, other_high) < np.maximum(low, other_low)).any()
    assert [len(piece) for piece in halved(SCAN[:7, :3], np.arange(7), 3)] == [2, 2, 3]


def test_small_cells_of_a_grid_are_joined_to_the_nearest():
    places = np.array([[0.5, 0.5, 0]] * 50 + [[1.5, 0.5, 0]] * 3 + [[9.5, 0.5, 0]] * 40 + [[8.2, 0.5, 0]])
    cells, joined = gridded(places, 1.0, 60)
    assert ([sorted(set(rows)) for rows in cells], joined) == ([list(range(53)), list(range(53, 94))], 2)


def test_a_surface_is_cut_by_as_many_points_as_it_has_corners(tmp_path):
    trimesh.creation.icosphere(4).export(tmp_path / "a.ply")
    data = PointCloudFilesData(str(tmp_path), points_per_crop=500, **(OPTIONS | {"columns": None}))
    data.setup("fit")
    assert sum(len(one) for part in data.parts for one in part.points) == 2562


def test_crops_that_are_too_large_are_thinned_and_told(tmp_path, capsys):
    np.save(tmp_path / "a.npy", SCAN)
    options = OPTIONS | {"stored_points": 100, "points_per_crop": 2000}
    first, again = (PointCloudFilesData(str(tmp_path), **options) for _ in "ab")
    first.setup("validate")
    told = capsys.readouterr().out
    assert "2 clouds have more points than `stored_points`, of which as many are kept: a.npy@0.01,0,0 (2,000)" in told
    assert torch.equal(first.splits.val[0]["points"], again.splits.val[0]["points"])


def test_a_scan_that_makes_one_crop_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", SCAN)
    data = PointCloudFilesData(str(tmp_path), points_per_crop=5000, **OPTIONS)
    with pytest.raises(ValueError, match=r"at least 2 point clouds, .* has 1, "):
        data.setup("fit")
    assert "scans have fewer points than a crop, and are kept whole" in data.report.findings.odd


def test_options(tmp_path):
    for given, said in (
        ({"crop_size": 0.0}, "`crop_size` must be above 0, but is 0"),
        ({"points_per_crop": 10}, "`points_per_crop` must be at least 64, but is 10"),
        ({"points_per_crop": 100, "crop_size": 1.0}, "`crop_size` or `points_per_crop` must be None"),
    ):
        with pytest.raises(ValueError, match=said):
            PointCloudFilesData(str(tmp_path), **given, **OPTIONS)
    trimesh.creation.box().export(tmp_path / "a.ply")
    with pytest.raises(ValueError, match=r"`columns` must be None where every file of `folder` tells its own, as a\.p"):
        PointCloudFilesData(str(tmp_path), **OPTIONS).source.read(Findings())
