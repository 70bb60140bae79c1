"""Data modules: solids, files, archives and PyG's sets, and what they say of odd ones."""

import warnings

import numpy as np
import pytest
import torch
import trimesh
from jsonargparse import ArgumentParser

from unmask.api import IGNORED, build_data
from unmask_pointcloud.data import NpzCloudsData, PointCloudFilesData, SolidsData
from unmask_pointcloud.data.module import View
from unmask_pointcloud.data.pyg import PyGCloudsData, PyGSource
from unmask_pointcloud.data.solids import KINDS, PARTS
from unmask_pointcloud.ops import local_pca

SMALL = {"num_points": 64, "stored_points": 128, "batch_size": 4, "num_workers": 0}


def _batches(data):
    torch.manual_seed(0)
    data.setup("fit")
    return next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))


def _boxes(folder, count=6, **more):
    """``count`` surfaces in each of two folders."""
    for kind, size in (("flat", (1, 0.1, 1)), ("long", (4, 1, 1))):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            trimesh.creation.box(np.array(size) * (1 + 0.1 * number)).export(folder / kind / f"{number}.off")
    return folder


class TestSolids:
    def test_batches(self, capsys):
        train, val = _batches(SolidsData(num_solids=48, **SMALL))
        assert "48 synthetic solids: 6,144 points, 12 classes." in capsys.readouterr().out
        assert train["points"].shape == (4, 64, 3) and train["points"].dtype == torch.float32
        assert train["part"].shape == (4, 64) and train["label"].shape == (4,)
        assert set(train) == {"points", "part", "label", "name", "index"}
        assert val["points"].norm(dim=-1).max() <= 1 + 1e-6

    def test_every_kind_is_as_frequent_and_the_same_each_time(self):
        first, again = (SolidsData(num_solids=36, **SMALL) for _ in range(2))
        label = torch.tensor([s["label"] for part in first.splits[:2] for s in View(part.clouds, part.chosen, True)])
        assert label.bincount().tolist() == [3] * 12
        assert first.classes == list(KINDS)
        assert torch.equal(first.splits.val[2]["points"], again.splits.val[2]["points"])
        other = SolidsData(num_solids=36, seed=1, **SMALL)
        assert not torch.equal(first.splits.val[2]["points"], other.splits.val[2]["points"])

    def test_normals_are_those_of_the_points(self):
        """Beside local PCA of the 12 nearest points, where surfaces are smooth."""
        data = SolidsData(num_solids=24, num_points=2048, stored_points=2048, channels=("normals",))
        clouds = data.splits.train.clouds
        for number, kind in enumerate(KINDS):
            if kind not in ("ellipsoid", "torus", "capsule"):
                continue
            points = torch.from_numpy(clouds.points[number])
            near = torch.cdist(points[:, :3], points[:, :3]).topk(12, largest=False).indices
            found = local_pca(points[near][..., :3]).normal
            assert (found * points[:, 3:]).sum(1).abs().median() > 0.97, kind

    def test_parts_are_what_points_lie_on(self):
        clouds = SolidsData(num_solids=24, channels=("normals",)).splits.train.clouds
        by_kind = dict(zip(KINDS, zip(clouds.points, clouds.parts, strict=False), strict=False))
        expected = {
            "ellipsoid": {2},
            "torus": {2},
            "cylinder": {0, 2},
            "cone": {0, 2},
            "tube": {0, 2},
            "pyramid": {0, 1},
        }
        for kind, parts in expected.items():
            assert set(by_kind[kind][1].tolist()) == parts, kind
        points, part = by_kind["box"]
        assert np.array_equal(np.abs(points[:, 4]) > 0.999, part == PARTS.index("level"))

    def test_wrong_settings(self):
        with pytest.raises(ValueError, match="`num_solids` must be at least 24, but is 23"):
            SolidsData(num_solids=23)
        with pytest.raises(ValueError, match=r"`channels` of solids must be `normals` or none, but are \['rgb'\]"):
            SolidsData(channels=("rgb",))


class TestFiles:
    def test_folders_are_classes(self, tmp_path):
        folder = str(_boxes(tmp_path))
        data = PointCloudFilesData(folder, val_ratio=0.25, channels=("normals",), augment=(), **SMALL)
        train, val = _batches(data)
        assert data.classes == ["flat", "long"]
        assert train["points"].shape == (4, 64, 6) and val["label"].shape == (3,)
        thin = train["points"][..., 1].std(1) < 0.4 * train["points"][..., 2].std(1)
        assert torch.equal(thin, train["label"] == 0)
        assert len(data.splits.probe_train) == 9 and len(data.splits.probe_test) == 3

    def test_training_samples_are_drawn_anew_and_others_stay(self, tmp_path):
        data = PointCloudFilesData(str(_boxes(tmp_path)), augment=(), **SMALL)
        data.setup("fit")
        loader = data.train_dataloader()
        first, second = (
            {int(i): p for b in loader for i, p in zip(b["index"], b["points"], strict=True)} for _ in range(2)
        )
        both = first.keys() & second.keys()
        assert both and not any(torch.equal(first[i], second[i]) for i in both)
        assert torch.equal(data.splits.val[0]["points"], data.splits.val[0]["points"])

    def test_bad_files_are_left_out_counted_and_named(self, tmp_path, capsys):
        _boxes(tmp_path)
        (tmp_path / "flat" / "cut.ply").write_bytes(b"ply\n")
        (tmp_path / "long" / "holes.xyz").write_text("0 0 0\n1 nan 0\n1 1 0\n")
        data = PointCloudFilesData(str(tmp_path), **SMALL)
        train, _ = _batches(data)
        told = capsys.readouterr().out
        assert "1 cannot be used and are left out: flat/cut.ply (" in told
        assert "1 clouds have points that are not finite, which are left out: long/holes.xyz (1 of them)." in told
        assert (
            "1 clouds have fewer points than `num_points`, and are filled up with padding: long/holes.xyz (2)." in told
        )
        assert "12 clouds to train on, 1 to validate on." in told
        assert train["valid"].dtype == torch.bool and train["points"].isfinite().all()
        assert data.report.num_items == 13

    def test_one_class_is_none(self, tmp_path, capsys):
        _boxes(tmp_path)
        data = PointCloudFilesData(str(tmp_path), **SMALL)
        for path in (tmp_path / "long").iterdir():
            path.unlink()
        train, _ = _batches(data)
        assert "label" not in train and data.splits.probe_train is None
        assert "all labels are of one class, which tells nothing" in capsys.readouterr().out

    def test_files_without_folders_have_no_labels(self, tmp_path):
        _boxes(tmp_path)
        trimesh.creation.box().export(tmp_path / "own.ply")
        assert "label" not in _batches(PointCloudFilesData(str(tmp_path), **SMALL))[0]
        (tmp_path / "own.ply").unlink()
        assert "label" not in _batches(PointCloudFilesData(str(tmp_path), labels=None, **SMALL))[0]

    def test_another_folder_to_validate_on(self, tmp_path):
        data = PointCloudFilesData(str(_boxes(tmp_path / "a")), str(_boxes(tmp_path / "b", 2)), **SMALL)
        data.setup("fit")
        assert (len(data.splits.train), len(data.splits.val)) == (12, 4)

    def test_errors(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match=r"does not exist\. Nearest: .*empty"):
            PointCloudFilesData(str(tmp_path / "emty")).setup()
        with pytest.raises(ValueError, match=r"must hold point clouds \(\.asc, .*holds nothing"):
            PointCloudFilesData(str(tmp_path / "empty")).setup()
        (tmp_path / "empty" / "a.xyz").write_text("0 0 0\n")
        with pytest.raises(ValueError, match=r"but has none: a\.xyz \(it has 1 points; at least 2 are needed\)"):
            PointCloudFilesData(str(tmp_path / "empty")).setup()
        (tmp_path / "empty" / "a.xyz").write_text("0 0 0\n1 0 0\n")
        with pytest.raises(ValueError, match=r"at least 2 point clouds, .* but has 1, a\.xyz; `points_per_crop` or"):
            PointCloudFilesData(str(tmp_path / "empty")).setup()
        np.save(tmp_path / "empty" / "a.npy", np.random.default_rng(0).normal(size=(900, 3)))
        (tmp_path / "empty" / "a.xyz").unlink()
        with pytest.raises(
            ValueError, match=r"has 1, a\.npy \(900\), of which 128 points \(`stored_points`\) would be"
        ):
            PointCloudFilesData(str(tmp_path / "empty"), **SMALL).setup()

    def test_kinds_that_are_not_read_are_named(self, tmp_path, capsys):
        for name in ("a.e57", "b.csv"):
            (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=r"holds 2 files with other endings \(a\.e57, b\.csv\)"):
            PointCloudFilesData(str(tmp_path)).setup()
        _boxes(tmp_path)
        (tmp_path / "flat" / ".hidden.off").write_bytes(b"x")
        (tmp_path / "again").symlink_to(tmp_path / "flat")
        data = PointCloudFilesData(str(tmp_path), **SMALL)
        data.setup()
        told = capsys.readouterr().out
        assert "2 files with other endings are left out: a.e57, b.csv." in told
        assert "1 hidden files and folders are left out: flat/.hidden.off." in told
        assert data.report.num_items == 12 and data.classes == ["flat", "long"]

    def test_files_in_both_folders_and_beside_classes_are_told(self, tmp_path, capsys):
        folder = _boxes(tmp_path)
        trimesh.creation.box().export(tmp_path / "own.ply")
        PointCloudFilesData(str(folder), str(folder / "flat"), **SMALL).setup()
        told = capsys.readouterr().out
        assert "6 files to validate on are also among those to train on: 0.off" in told
        assert "files lie beside the folders, which are therefore no classes: own.ply" in told

    def test_las_without_laspy_is_told(self, tmp_path, monkeypatch):
        (tmp_path / "a.las").write_bytes(b"")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ValueError, match=r"pip install 'unmask-pointcloud\[las\]'"):
            PointCloudFilesData(str(tmp_path)).setup()


class TestNpz:
    POINTS = np.random.default_rng(0).normal(size=(12, 100, 3)).astype(np.float16)

    def test_labelled_and_unlabelled_archives_together(self, tmp_path):
        """All are trained on; those with a class are probed."""
        np.savez(tmp_path / "a.npz", points=self.POINTS, label=np.arange(12) % 3, classes=["x", "y", "z"])
        np.savez(tmp_path / "b.npz", points=self.POINTS[:5])
        np.savez(tmp_path / "c.npz", points=self.POINTS[:6], label=np.arange(6) % 3, classes=["x", "y", "z"])
        paths = [str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]
        data = NpzCloudsData(paths, str(tmp_path / "c.npz"), **SMALL)
        train, _ = _batches(data)
        assert "label" not in train
        assert [len(part) for part in data.splits] == [17, 6, 12, 6]
        assert [s["label"] for s in data.splits.probe_train] == [0, 1, 2] * 4
        assert data.classes == ["x", "y", "z"] and data.report.num_unlabelled == 5
        assert IGNORED in data.splits.train.clouds.label

    def test_channels_and_parts(self, tmp_path):
        more = np.concatenate([self.POINTS, np.ones((12, 100, 1))], axis=2)
        np.savez(tmp_path / "a.npz", points=more, part=np.arange(100)[None].repeat(12, 0))
        train, _ = _batches(NpzCloudsData(str(tmp_path / "a.npz"), channels=("intensity",), augment=(), **SMALL))
        assert (train["points"][..., 3] == 1).all() and train["points"].shape[-1] == 4
        whole = torch.from_numpy(self.POINTS.astype(np.float32))
        order = train["part"][0]
        distances = torch.cdist(train["points"][0, :, :3], train["points"][0, :, :3])
        for cloud in whole:  # the same points but for their scale
            other = torch.cdist(cloud[order], cloud[order])
            if torch.allclose(distances / distances.max(), other / other.max(), atol=1e-3):
                return
        raise AssertionError("parts do not belong to their points")

    def test_what_is_not_read_is_left_out_and_told(self, tmp_path, capsys):
        more = np.concatenate([self.POINTS, np.full((12, 100, 4), 255)], axis=2)
        np.savez(tmp_path / "a.npz", points=more, part=np.array(["3001.dat"] * 12), pid=np.zeros(1))
        train, _ = _batches(NpzCloudsData(str(tmp_path / "a.npz"), channels=("rgb",), augment=(), **SMALL))
        assert "part" not in train and (train["points"][..., 3:] == 1).all()
        told = capsys.readouterr().out
        assert "1 archives have a `part` that is not of clouds and points, which is left out: a.npz." in told
        assert "1 archives have other arrays, which are left out (pid): a.npz." in told
        assert (
            "12 clouds have 7 columns, of which x, y, z, rgb (3) are taken and the others left out: a.npz[0]," in told
        )

    def test_points_that_are_not_finite_are_left_out(self, tmp_path, capsys):
        points = np.concatenate([self.POINTS, np.ones((12, 100, 1))], axis=2)
        points[3, 5, 3], points[3, 6, 0] = np.nan, np.inf
        np.savez(tmp_path / "a.npz", points=points)
        data = NpzCloudsData(str(tmp_path / "a.npz"), channels=("intensity",), **SMALL)
        assert all(batch["points"].isfinite().all() for batch in _batches(data))
        assert "which are left out: a.npz[3] (2 of them)." in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arrays", "said"),
        [
            ({"points": np.zeros((3, 9, 2))}, r"must be \[clouds, points, 3 or more\], but are \[3, 9, 2\]"),
            ({"points": np.zeros((3, 9, 3)), "label": np.full(3, 10**8)}, "below 100,000, but goes up to 100,000,000"),
            ({"points": np.zeros((3, 9, 3)), "part": np.full((3, 9), 10**8)}, "`part` .* but goes up to 100,000,000"),
            ({"points": np.zeros((3, 9, 3)), "part": np.full((3, 9), np.nan)}, r"`part` .* whole numbers \[3, 9\]"),
            ({"cloud": np.zeros((3, 9, 3))}, "must have an array `points`, but has `cloud`"),
            ({"points": np.zeros((3, 9, 3)), "label": np.zeros(2, int)}, r"`label` .* whole numbers \[3\]"),
            ({"points": np.zeros((3, 9, 3)), "label": np.zeros(3)}, r"whole numbers \[3\], but is float64"),
            ({"points": np.zeros((3, 9, 3)), "label": np.full(3, 2), "classes": ["a"]}, "must be below 1"),
            ({"points": np.zeros((3, 9, 3))}, r"but has none: a\.npz\[0\] \(all its points lie in one place\)"),
            ({"points": np.zeros((0, 9, 3))}, "must have a point cloud that can be used, but has none"),
        ],
    )
    def test_errors(self, arrays, said, tmp_path):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(ValueError, match=said):
            NpzCloudsData(str(tmp_path / "a.npz"), **SMALL).setup()

    def test_files_that_are_none(self, tmp_path):
        with pytest.raises(ValueError, match="there is no"):
            NpzCloudsData(str(tmp_path / "a.npz")).setup()
        (tmp_path / "a.npz").write_bytes(b"PK\x03\x04")
        with pytest.raises(ValueError, match="that can be read, but"):
            NpzCloudsData(str(tmp_path / "a.npz")).setup()


class TestPyG:
    @pytest.fixture
    def root(self, tmp_path):
        """ModelNet10 as it is unpacked, with one tiny surface per class and part."""
        pytest.importorskip("torch_geometric")
        names = ["bathtub", "bed", "chair", "desk", "dresser", "monitor", "night_stand", "sofa", "table", "toilet"]
        for number, name in enumerate(names):
            for part in ("train", "test"):
                folder = tmp_path / "raw" / name / part
                folder.mkdir(parents=True)
                trimesh.creation.box((1 + number, 1, 1)).export(folder / f"{name}_0001.off")
        return tmp_path

    def test_modelnet_from_its_files(self, root):
        data = PyGCloudsData("ModelNet", str(root), {"name": "10"}, channels=("normals",), **SMALL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data.prepare_data()
            train, _ = _batches(data)
        assert train["points"].shape == (4, 64, 6)
        assert [s["label"] for s in data.splits.probe_test] == list(range(10))
        assert len(data.splits.train) == len(data.splits.val) == 10

    def test_what_samples_have_beside_points(self, tmp_path, monkeypatch, capsys):
        """Real numbers are no classes: not cut to whole ones, not dropped without a word."""
        from torch_geometric.data import Data

        def clouds(y, x=None):
            return [Data(pos=torch.randn(70, 3), y=y, x=x) for _ in range(6)]

        def told(made):
            monkeypatch.setattr(PyGSource, "_opened", lambda self: (made, None))
            data = PyGCloudsData("ModelNet", str(tmp_path), **SMALL)
            train, _ = _batches(data)
            return set(train) - {"points", "name", "index"}, capsys.readouterr().out

        none = "6 clouds have a `y` that is no class number, which is left out: ModelNet train 0,"
        for y in (torch.tensor([0.9]), torch.rand(70), torch.full((70,), float("nan")), torch.rand(2)):
            keys, said = told(clouds(y))
            assert keys == set() and none in said
        keys, said = told(clouds(torch.arange(70) % 3, torch.rand(70, 3)))
        assert keys == {"part"} and none not in said and "6 clouds have `x`, which is left out" in said
        with pytest.raises(ValueError, match="below 100,000, but go up to 100,000,000"):
            told(clouds(torch.tensor([10**8])))

    def test_errors(self, tmp_path):
        pytest.importorskip("torch_geometric")
        with pytest.raises(ValueError, match="nearest: `ModelNet`"):
            PyGCloudsData("ModelNett", str(tmp_path)).prepare_data()
        with pytest.raises(ValueError, match=r"lacks some of `bathtub`.*or set `download` to True"):
            PyGCloudsData("ModelNet", str(tmp_path)).prepare_data()
        with pytest.raises(ValueError, match="`options` must be arguments that `ModelNet` takes"):
            PyGCloudsData("ModelNet", str(tmp_path), {"name": 10}).prepare_data()


@pytest.mark.parametrize("kind", [SolidsData, PointCloudFilesData, NpzCloudsData, PyGCloudsData])
def test_augmentations_from_a_command_line(kind):
    """By names, by class, and by class with a setting of its own."""

    def parsed(*words):
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(kind, "data", skip={"folder", "paths", "name", "root"})  # what has no default
        return parser.parse_args(list(words)).data.augment

    path = "--data.augment=unmask_pointcloud.data.augment.Jitter"
    assert parsed("--data.augment=[rotate-y,jitter]") == ("rotate-y", "jitter")
    assert parsed(path).init_args.sigma == 0.01
    assert parsed(path, "--data.augment.sigma=0.02").init_args.sigma == 0.02


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_points": 1}, "`num_points` must be at least 2, but is 1"),
        ({"stored_points": 10}, "`stored_points` must be at least `num_points` = 1024, but is 10"),
        ({"channels": ("normal",)}, "has 'normal'; nearest: `normals`"),
        ({"channels": ("rgb", "rgb")}, "each channel once"),
        ({"normalize": "spere"}, "but is 'spere'; nearest: `sphere`"),
        ({"val_ratio": 1.0}, r"`val_ratio` must be in \[0, 1\), but is 1.0"),
        ({"augment": ("jiter",)}, "has 'jiter'; nearest: `jitter`"),
    ],
)
def test_wrong_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        PointCloudFilesData("anywhere", **settings)


CUBES = """
from functools import partial

import numpy as np

from unmask.data import Found, Item, Source
from unmask_pointcloud.data.clouds import Cloud


class Cubes(Source):
    def __init__(self, count: int = 6) -> None:
        self.count = count

    def read(self, findings):
        items = [Item(f"cube {n}", partial(self.cube, n), n % 2, {"scan": str(n)}) for n in range(self.count)]
        return Found(items, classes=["even", "odd"])

    def cube(self, number):
        return Cloud(np.random.default_rng(number).uniform(size=(90, 3)))
"""


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{class_path: own_cubes.Cubes, init_args: {count: 8}}", "8 clouds: 720 points, 2 classes."),
        (
            "{class_path: unmask.data.FolderSource, init_args: {folder: FOLDER, endings: [.off], labels: pattern, "
            "pattern: '(?P<label>flat|long)/(?P<scan>.)'}}",
            "12 clouds: 1,536 points, 2 classes.",
        ),
    ],
)
def test_other_sources_by_class_path(source, told, tmp_path, monkeypatch):
    """One of a plugin, and core's folder with labels that the registered classes lack; groups are keys of samples."""
    (tmp_path / "own_cubes.py").write_text(CUBES)
    monkeypatch.syspath_prepend(tmp_path)
    options = "num_points: 64, stored_points: 128, batch_size: 2, num_workers: 0"
    config = tmp_path / "data.yaml"
    source = source.replace("FOLDER", str(_boxes(tmp_path / "boxes")))
    config.write_text(
        f"data:\n  class_path: unmask_pointcloud.data.PointCloudData\n  init_args: {{{options}, source: {source}}}\n"
    )
    data = build_data(config)
    train, _ = _batches(data)
    assert train["points"].shape == (2, 64, 3) and len(train["scan"]) == 2
    assert told in data.found()


def test_classes_of_points_are_told_with_the_command_that_learns_them(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        points = rng.normal(size=(80, 3))
        np.savez(tmp_path / f"{number}.npz", points=points, label=np.arange(80) % 4)
    told = "each point has one of 4 classes, which `unmask pointcloud-segment` learns to tell."
    assert told in PointCloudFilesData(str(tmp_path), **SMALL).found()
    for number in range(3):
        np.savez(tmp_path / f"{number}.npz", points=rng.normal(size=(80, 3)))
    assert "each point" not in PointCloudFilesData(str(tmp_path), **SMALL).found()
