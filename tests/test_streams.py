"""Rows of `datasets` that are read as they come, into shards: the same as of a copy, one at a time."""

import io

import datasets
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from unmask.cli import main
from unmask.data.shards import write_shards
from unmask_audio.data import AudioShardsData, HubAudioData
from unmask_text.data import HubTextData, TextShardsData
from unmask_vision.data import HubImagesData, ImageShardsData


def png(number):
    held = io.BytesIO()
    rng = np.random.default_rng(number)
    Image.fromarray(rng.integers(0, 256, (8 + number, 9, 3), dtype=np.uint8)).save(held, "PNG")
    return {"bytes": held.getvalue(), "path": None}


def wav(number):
    held = io.BytesIO()
    wave = np.random.default_rng(number).normal(0, 0.1, 1600).astype(np.float32)
    soundfile.write(held, wave, 8000, format="WAV", subtype="FLOAT")
    return {"bytes": held.getvalue(), "path": None}


FILE = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
LABELS = {
    "classes": (datasets.ClassLabel(names=["b", "a"]), [0, 1, 1, 0, 1]),
    "words": (datasets.Value("string"), ["b", "a", "a", "b", "b"]),
    "whole": (datasets.Value("int64"), [3, 1, 3, 1, 1]),
    "real": (datasets.Value("float32"), [0.5, 1.5, 0.25, 2.0, 0.0]),
}


def parquet(folder, column, feature, cell, labels, count=20, parts=("train", "validation")):
    folder.mkdir()
    kind, cells = LABELS[labels]
    features = datasets.Features({column: feature, "label": kind})
    for part in parts:
        own = {column: [cell(n) for n in range(count)], "label": [cells[n % len(cells)] for n in range(count)]}
        datasets.Dataset.from_dict(own, features=features).to_parquet(str(folder / f"{part}.parquet"))
    return str(folder)


def images(folder, labels="classes", **options):
    return parquet(folder, "image", datasets.Image(), png, labels, **options)


def stopped(plan, folder, size, after):
    """A writer that is killed after some samples, and the one that goes on."""
    seen = []

    def moved(*told):
        seen.append(told)
        if len(seen) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(folder, plan(), size, moved)
    assert len(list(folder.glob("*.tar.json"))) > 0
    seen.clear()
    after = 0
    assert write_shards(folder, plan(), size, moved) is not None
    return len(seen)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("labels", list(LABELS))
def test_images_of_a_stream_are_those_of_a_copy(labels, tmp_path, capsys):
    name = images(tmp_path / "set", labels)
    out = tmp_path / "shards"
    words = ["shard", "--data", "vision.datasets", "--data.name", name, "--data.streaming", "true", "--out", str(out)]
    assert main([*words, "--shard_size", "10KB"]) == 0
    assert "in the order of the stream" in capsys.readouterr().out
    two = ImageShardsData(str(out), image_size=8)
    one = HubImagesData(name, image_size=8)
    assert list(two.classes) == list(one.classes)
    assert len(two.source.index.shards) > 2
    for part in ("train", "val"):
        own, other = (getattr(module.splits, part) for module in (one, two))
        assert len(own) == len(other) == 20
        for a, b in zip(*([dataset[place] for place in range(20)] for dataset in (own, other)), strict=True):
            assert torch.equal(a["image"], b["image"])
            assert a["label"] == b["label"]
            assert a["name"] == b["name"]


def test_sounds_of_a_stream_are_those_of_a_copy(tmp_path):
    name = parquet(tmp_path / "set", "audio", FILE, wav, "words")
    given = {"sample_rate": 8000, "seconds": 0.2}
    module = HubAudioData(name, audio_column="audio", streaming=True, **given)
    write_shards(tmp_path / "shards", module.shard_plan(True), 20_000, lambda *_: None)
    one, two = HubAudioData(name, audio_column="audio", **given), AudioShardsData(str(tmp_path / "shards"), **given)
    assert list(one.classes) == list(two.classes)
    for place in range(20):
        a, b = (module.splits.val[place] for module in (one, two))
        assert torch.equal(a["wave"], b["wave"])
        assert a["label"] == b["label"]


def test_a_killed_writer_of_a_stream_goes_on_to_the_same_bytes(tmp_path):
    name = images(tmp_path / "set", count=40, parts=("train",))

    def plan():
        return HubImagesData(name, image_size=8, streaming=True).shard_plan(True)

    rest = stopped(plan, tmp_path / "two", 8000, after=30)
    assert 0 < rest < 40  # what was written is passed over
    write_shards(tmp_path / "one", plan(), 8000, lambda *_: None)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_killed_writer_of_streamed_text_goes_on_to_the_same_bytes(tmp_path):
    (tmp_path / "set").mkdir()
    rows = {"text": [f"word{n} and more words" for n in range(60)]}
    datasets.Dataset.from_dict(rows).to_parquet(str(tmp_path / "set" / "train.parquet"))

    def plan():
        return HubTextData(str(tmp_path / "set"), streaming=True).shard_plan(True)

    stopped(plan, tmp_path / "two", 20_000, after=40)
    write_shards(tmp_path / "one", plan(), 20_000, lambda *_: None)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    data = TextShardsData(str(tmp_path / "one"), vocab_size=200, cache_folder=str(tmp_path / "cache"))
    assert data.stores["train"].report.num_documents == 60


def test_no_more_than_a_row_is_held_at_a_time(tmp_path, monkeypatch):
    drawn, packed = [], []

    def rows():
        for number in range(50):
            drawn.append(number)
            yield {"image": png(number % 5), "label": number % 2}

    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    stream = datasets.IterableDataset.from_generator(rows, features=features)
    monkeypatch.setattr("unmask.data.hub_stream.open_splits", lambda *_, **__: {"train": stream})
    module = HubImagesData("any", image_size=8, streaming=True)
    pack = module.shard_content

    def counted(content, number):
        packed.append(number)
        assert len(drawn) - len(packed) < 2
        return pack(content, number)

    monkeypatch.setattr(module, "shard_content", counted)
    write_shards(tmp_path / "shards", module.shard_plan(True), 10_000, lambda *_: None)
    assert packed == list(range(50))


def test_training_from_a_stream_is_refused_in_a_line(tmp_path, capsys):
    name = images(tmp_path / "set")
    words = ["--data", "vision.datasets", "--data.name", name, "--data.image_size", "8", "--data.channels", "1"]
    words += ["--data.streaming", "true", "--trainer.max_steps", "1", "--trainer.accelerator", "cpu"]
    capsys.readouterr()
    assert main(["fit", "--config", "vision/mae-digits", *words, "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "since a stream gives no sample by its number" in told
    assert "unmask shard --data vision.datasets --data.streaming true" in told
    assert len(told.strip().splitlines()) == 1


def test_streams_that_cannot_be_written_are_told_in_a_line(tmp_path, monkeypatch):
    name = images(tmp_path / "set")
    datasets.load_dataset(name).save_to_disk(str(tmp_path / "saved"))
    for given, told in (
        ({"name": str(tmp_path / "saved")}, "`save_to_disk` has written"),
        ({"name": name, "image_column": "imag"}, "`image_column` must name a column, but is 'imag'; nearest: image"),
        ({"name": name, "split": "other"}, "`split` must be one of train, validation, but is 'other'"),
    ):
        with pytest.raises(ValueError, match=told):
            HubImagesData(image_size=8, streaming=True, **given).shard_plan(True)
    unknown = datasets.IterableDataset.from_generator(lambda: iter([{"image": png(0)}]))
    monkeypatch.setattr("unmask.data.hub_stream.open_splits", lambda *_, **__: {"train": unknown})
    with pytest.raises(ValueError, match="does not tell what its columns hold"):
        HubImagesData("any", image_size=8, streaming=True).shard_plan(True)
