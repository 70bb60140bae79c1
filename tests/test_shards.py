"""Every modality from shards: samples as of what the shards were made of, once each, and the same training."""

import io
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import webdataset
from PIL import Image

from unmask.cli import main
from unmask.data import ShardError
from unmask.data.shards import write_shards
from unmask_audio.data import AudioFilesData, AudioShardsData, SynthData
from unmask_graph.data import GraphData, GraphShardsData, GraphSource, RawGraph, RawGraphs
from unmask_pointcloud.data import PointCloudFilesData, PointCloudShardsData, SolidsData
from unmask_text.data import TextFilesData, TextShardsData
from unmask_vision.data import DigitsData, ImageFolderData, ImageShardsData


def written(module, folder, size, shuffle=False):
    return write_shards(folder, module.shard_plan(shuffle), size, lambda *_: None)


def epoch(module, number=0):
    torch.manual_seed(5)
    loader = module.train_dataloader()
    loader.where = lambda: (number, 0)
    return list(loader)


def samples(dataset):
    return [dataset[place] for place in range(len(dataset))]


def check_same(one, two):
    """Batches of one epoch and of validation, and samples of probes, bit for bit."""
    found = [[*epoch(module, 1), *module.val_dataloader()] for module in (one, two)]
    for module, batches in zip((one, two), found, strict=True):
        for part in (module.splits.probe_train, module.splits.probe_test):
            batches += [] if part is None else samples(part)
    assert len(found[0]) == len(found[1]) > 1
    for a, b in zip(*found, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == b[key].dtype
                assert torch.equal(value, b[key]), key
            elif key != "tokenizer":
                assert value == b[key], key


def images(folder):
    """Files of several kinds, of two classes, one of them damaged."""
    rng = np.random.default_rng(0)
    for number in range(24):
        path = folder / "ab"[number % 2] / f"{number:02d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rng.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8))
        if number % 3 == 0:
            picture.save(path.with_suffix(".jpg"))
        elif number % 3 == 1:
            picture.save(path.with_suffix(".png"))
        else:
            np.save(path.with_suffix(".npy"), np.asarray(picture))


def sounds(folder):
    rng = np.random.default_rng(0)
    for number in range(12):
        folder.mkdir(exist_ok=True)
        wave = rng.normal(0, 0.1, (3000 + 500 * number, 1 + number % 2))
        soundfile.write(folder / f"{number:02d}.{['wav', 'flac'][number % 2]}", wave, [8000, 11025][number % 2])


def clouds(folder):
    rng = np.random.default_rng(0)
    for number in range(12):
        path = folder / "ab"[number % 2] / f"{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.normal(size=(40 + number, 3)))


def texts(folder):
    folder.mkdir()
    rng = np.random.default_rng(0)
    words = ["mask", "token", "patch", "wave", "node", "loss", "naïve"]
    for part in ("train", "val"):
        rows = [f"{' '.join(rng.choice(words, 30))},{'ab'[n % 2]}" for n in range(30)]
        (folder / f"{part}.csv").write_text("\n".join(["text,kind", *rows]), encoding="utf-8")


class Rings(GraphSource):
    """Ten rings with a class, and values on their edges."""

    def read(self, findings):
        rng = np.random.default_rng(0)
        graphs = [
            RawGraph(
                rng.normal(size=(n, 3)), np.stack([np.arange(n), (np.arange(n) + 1) % n]), rng.normal(size=(n, 2)),
                n % 2, f"Ring {n}", node_names=[f"é{i}" for i in range(n)],
            )
            for n in range(4, 14)
        ]  # fmt: skip
        return RawGraphs(graphs, ["even", "odd"], names=["a", "b", "c"], edge_names=["u", "v"])


class OneGraph(GraphSource):
    """A ring whose nodes have classes, and are split by the source."""

    def read(self, findings):
        n = 12
        edges = np.stack([np.arange(n), (np.arange(n) + 1) % n])
        part = torch.arange(n) % 3
        masks = {name: part == number for number, name in enumerate(("train", "val", "test"))}
        graph = RawGraph(torch.eye(n).to_sparse(), edges, label=np.arange(n) % 2, undirected=True)
        return RawGraphs([graph], ["even", "odd"], masks)


def pair(kind, tmp_path):
    """A data module, and one that reads the same from shards with one window."""
    own, shards = tmp_path / "own", str(tmp_path / "shards")
    if kind == "digits":
        one = DigitsData(num_val=1700, batch_size=10)
        two = ImageShardsData(shards, 8, 1, window=99, augment="none", batch_size=10, num_workers=0)
        size = 20_000
    elif kind == "images":
        images(own)
        given = {"batch_size": 4, "num_workers": 0, "image_size": 16}
        one, two = ImageFolderData(str(own), **given), ImageShardsData(shards, window=99, **given)
        size = 20_000
    elif kind == "synth":
        given = {"seconds": 0.1, "batch_size": 4, "num_workers": 0}
        one = SynthData(num_sounds=24, sample_rate=8000, val_ratio=0.2, **given)
        two = AudioShardsData(shards, window=99, sample_rate=8000, **given)
        size = 10_000
    elif kind == "sounds":
        sounds(own)
        given = {"sample_rate": 8000, "seconds": 0.2, "augment": ("roll",), "batch_size": 4, "num_workers": 0}
        one, two = AudioFilesData(str(own), labels=None, **given), AudioShardsData(shards, window=99, **given)
        size = 30_000
    elif kind == "solids":
        given = {"num_points": 32, "batch_size": 4, "num_workers": 0}
        one, two = SolidsData(num_solids=24, **given), PointCloudShardsData(shards, window=99, **given)
        two.stored_points, two.normalize, two.augmentations = one.stored_points, one.normalize, one.augmentations
        size = 100_000
    elif kind == "clouds":
        clouds(own)
        given = {"num_points": 45, "stored_points": 48, "batch_size": 4, "num_workers": 0}
        one, two = PointCloudFilesData(str(own), **given), PointCloudShardsData(shards, window=99, **given)
        size = 5000
    elif kind == "texts":
        texts(own)
        given = {"vocab_size": 200, "max_length": 24, "batch_size": 4, "cache_folder": str(tmp_path / "cache")}
        one = TextFilesData(str(own / "train.csv"), val_paths=str(own / "val.csv"), labels="kind", **given)
        two = TextShardsData(shards, **given)
        size = 10_000
    elif kind == "rings":
        given = {"batch_size": 2, "scale": "columns"}
        one, two = GraphData(Rings(), **given), GraphShardsData(shards, **given)
        size = 3000
    else:
        one, two = GraphData(OneGraph()), GraphShardsData(shards)
        size = 3000
    index = written(one, tmp_path / "shards", size)
    assert len(index.shards) > (0 if kind == "graph" else 2)
    return one, two


@pytest.mark.parametrize(
    "kind", ["digits", "images", "synth", "sounds", "solids", "clouds", "texts", "rings", "graph"]
)  # fmt: skip
def test_samples_from_shards_are_those_they_were_made_of(kind, tmp_path):
    one, two = pair(kind, tmp_path)
    check_same(one, two)
    assert list(two.classes) == list(one.classes)


@pytest.mark.parametrize(
    ("world", "workers"),
    [
        (1, 3), (2, 0), (4, 1),
        *(pytest.param(world, workers, marks=pytest.mark.slow)
          for world, workers in ((1, 0), (1, 1), (2, 1), (2, 3), (4, 0), (4, 3))),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["images", "synth", "solids"])
def test_every_sample_comes_once_in_each_modality(kind, world, workers, tmp_path):
    _, two = pair(kind, tmp_path)
    two.source.window, two.num_workers, two.batch_size = 2, workers, 1
    count = len(two.splits.train) // world * world
    seen = Counter()
    for rank in range(world):
        two._world = lambda rank=rank: (world, rank)
        seen.update(index for batch in epoch(two) for index in batch["index"].tolist())
    assert set(seen.values()) == {1}
    assert len(seen) == count


def test_the_start_of_a_run_reads_no_labelled_sample(tmp_path, monkeypatch):
    for kind in ("images", "synth", "solids"):
        _, two = pair(kind, tmp_path / kind)
        monkeypatch.setattr(two.source.store, "read", None)
        assert len(two.splits.train) > 1
        assert two.found()


def test_shards_of_other_modalities_and_data_that_cannot_be_written_are_refused(tmp_path, capsys):
    _, two = pair("synth", tmp_path)
    with pytest.raises(ShardError, match=r"must hold images, but .* holds sounds"):
        ImageShardsData(two.source.shards).splits  # noqa: B018
    assert main(["shard", "--data", "multimodal.captioned-digits", "--out", str(tmp_path / "x")]) == 2
    assert "CaptionedDigits makes samples that `unmask shard` cannot write" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_command_writes_and_indexes_and_webdataset_reads(tmp_path, capsys):
    images(tmp_path / "own")
    (tmp_path / "own" / "a" / "torn.jpg").write_bytes((tmp_path / "own" / "a" / "00.jpg").read_bytes()[:300])
    words = ["--data", "vision.folder", "--data.folder", str(tmp_path / "own")]
    words += ["--out", str(tmp_path / "s"), "--shard_size", "20KB"]
    assert main(["shard", *words]) == 0
    told = capsys.readouterr().out
    assert "images in" in told
    assert "a/torn.jpg" in told
    assert main(["shard", *words]) == 0
    assert "has these shards already" in capsys.readouterr().out
    paths = sorted(map(str, (tmp_path / "s").glob("train-*.tar")))
    read = list(webdataset.WebDataset(paths, shardshuffle=False, empty_check=False).decode("pilrgb"))
    kept = [sample["json"]["name"] for sample in read]
    first = ImageShardsData(str(tmp_path / "s"), window=99)
    assert kept == [first.splits.train[place]["name"] for place in range(len(first.splits.train))]
    (tmp_path / "s" / "shards.json").unlink()
    again = ["shard", "--index", str(tmp_path / "s"), "--data", "vision.shards"]
    assert main(again) == 0
    second = ImageShardsData(str(tmp_path / "s"), window=99)
    for part in ("train", "val"):
        for a, b in zip(*(samples(getattr(one.splits, part)) for one in (first, second)), strict=True):
            assert torch.equal(a["image"], b["image"])
            assert a["name"] == b["name"]


def test_texts_that_others_wrote_are_read_as_files(tmp_path):
    words = ["a mask hides a token", "zwei Wörter, drei Wörter", "one node and two edges"] * 4
    with tarfile.open(tmp_path / "all.tar", "w") as file:
        for number, text in enumerate(words):
            info = tarfile.TarInfo(f"{number:03d}.txt")
            info.size = len(text.encode())
            file.addfile(info, io.BytesIO(text.encode()))
    assert main(["shard", "--index", str(tmp_path), "--data", "text.shards"]) == 0
    data = TextShardsData(str(tmp_path), vocab_size=200, batch_size=2, cache_folder=str(tmp_path / "cache"))
    assert sum(store.report.num_documents for store in data.stores.values()) == 12
    assert len(data.splits.train) == 11


MEASURED = """
import sys
from unmask.cli import main
sys.exit(main(sys.argv[1:]))
"""


def losses(folder):
    rows = (folder / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/loss")
    return [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]


@pytest.mark.slow
def test_losses_from_shards_are_the_same_on_one_two_and_four_processes(tmp_path):
    shards = tmp_path / "shards"
    assert main(["shard", "vision/mae-digits", "--out", str(shards), "--shard_size", "100KB"]) == 0
    found = {}
    for world in (1, 2, 4):
        out = tmp_path / f"on-{world}"
        words = [
            "fit", "--config", "vision/mae-digits", "--data", "vision.shards", "--data.shards", str(shards),
            "--data.image_size", "8", "--data.channels", "1", "--data.augment", "none", "--data.window", "3",
            "--data.batch_size", str(32 // world), "--data.num_workers", "1", "--trainer.max_steps", "20",
            "--trainer.devices", str(world), "--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1",
            "--trainer.limit_val_batches", "0", "--trainer.precision", "32-true", "--out", str(out),
        ]  # fmt: skip
        words += ["--trainer.strategy", "ddp"] if world > 1 else []
        script = tmp_path / "measured.py"
        script.write_text(MEASURED)
        done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        found[world] = losses(next(Path(out).rglob("metrics.csv")).parent)
    assert len(found[1]) == 20
    for world in (2, 4):
        assert np.abs(np.subtract(found[world], found[1])).max() <= 1e-5
