"""Chunks that LitData wrote: images and sounds as they were written, once each, and nothing that is pickled."""

import io
import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from litdata.streaming import Cache
from PIL import Image

from unmask.cli import main
from unmask.data import Findings, ShardError
from unmask_audio.data import LitAudioData
from unmask_vision.data import ImageShardsData, LitImagesData


def written(folder, items, chunk_size=4):
    """What `litdata.optimize` writes, without its processes."""
    cache = Cache(str(folder), chunk_size=chunk_size)
    for number, item in enumerate(items):
        cache[number] = item
    cache.done()
    cache.merge()
    return str(folder)


def png(array):
    held = io.BytesIO()
    Image.fromarray(array).save(held, "PNG")
    return held.getvalue()


def arrays(count=26):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (10 + number, 12, 3), dtype=np.uint8) for number in range(count)]


@pytest.fixture
def folder(tmp_path):
    return written(
        tmp_path / "lit",
        [{"image": Image.fromarray(array), "file": png(array), "label": n % 2} for n, array in enumerate(arrays())],
    )


def data(folder, **options):
    given = {"image_size": 8, "num_workers": 0, "batch_size": 1, "window": 2, "val_ratio": 0.1}
    return LitImagesData(folder, **(given | options))


def epoch(module, done=0):
    torch.manual_seed(5)
    loader = module.train_dataloader()
    loader.where = lambda: (3, done)
    return list(loader)


@pytest.fixture
def rows(tmp_path):
    """Written as rows of Arrow, for all columns are plain."""
    return written(
        tmp_path / "rows", [{"file": png(array), "label": n % 2} for n, array in enumerate(arrays())], chunk_size=10
    )


def test_rows_of_arrow_are_those_that_were_written(rows, tmp_path):
    assert b"LDARW01" in (tmp_path / "rows" / "chunk-0-0.bin").read_bytes()
    train = data(rows, val_ratio=0).splits.train
    for number, array in enumerate(arrays()):
        assert torch.equal(train[number]["image"], torch.from_numpy(array).permute(2, 0, 1))
        assert train[number]["label"] == number % 2
    some = written(
        tmp_path / "some", [{"file": png(arrays()[n]), "label": n / 2 if n % 2 else None} for n in range(1, 9)]
    )
    labels = [item.label for item in data(some, val_ratio=0).source.read(Findings()).train]
    assert labels[::2] == [0.5, 1.5, 2.5, 3.5]
    assert np.isnan(labels[1::2]).all()
    path = tmp_path / "rows" / "chunk-0-0.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ShardError, match="no rows of Arrow follow"):
        data(rows).splits  # noqa: B018


@pytest.mark.parametrize("column", ["image", "file"])
def test_images_and_labels_are_those_that_were_written(column, folder):
    module = data(folder, image_column=column, val_ratio=0)
    train = module.splits.train
    assert list(module.classes) == ["0", "1"]
    for number, array in enumerate(arrays()):
        sample = train[number]
        assert torch.equal(sample["image"], torch.from_numpy(array).permute(2, 0, 1))
        assert (sample["label"], sample["name"]) == (number % 2, f"row {number}")


@pytest.mark.parametrize(
    ("kind", "items", "label"),
    [
        ("words", ["cat", "dog"], [0, 1]),
        ("real", [0.5, 1.5], [0.5, 1.5]),
        ("several", [np.array([0, 1, 1]), np.array([1, 0, 1])], [[0, 1, 1], [1, 0, 1]]),
    ],
)
def test_labels_are_of_every_kind_that_tasks_take(kind, items, label, tmp_path):
    folder = written(tmp_path, [(png(array), items[n % 2]) for n, array in enumerate(arrays(6))])
    train = data(folder, image_column="0", label_column="1", val_ratio=0).splits.train
    for number in range(6):
        assert torch.as_tensor(train[number]["label"]).tolist() == label[number % 2]


@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 1), (2, 0), (2, 1), (4, 0), (4, 1)])
def test_every_sample_comes_once(world, workers, folder):
    module = data(folder, num_workers=workers)
    count = len(module.splits.train) // world * world
    seen = Counter()
    for rank in range(world):
        module._world = lambda rank=rank: (world, rank)
        seen.update(index for batch in epoch(module) for index in batch["index"].tolist())
    assert set(seen.values()) == {1}
    assert len(seen) == count


def test_chunks_are_read_window_by_window_and_a_resumed_epoch_goes_on_with_the_next_sample(folder):
    module = data(folder)
    whole = epoch(module)
    chunks = [module.splits.train.of[int(batch["index"])].content.number for batch in whole]
    left = [place for place, (one, two) in enumerate(pairwise(chunks)) if one != two]
    assert len(left) > 8  # chunks of a window are mixed
    for chunk in set(chunks):  # and come within two windows' lengths
        own = [place for place, one in enumerate(chunks) if one == chunk]
        assert max(own) - min(own) < 8
    again = epoch(module, done=7)
    assert len(again) == len(whole) - 7
    for one, two in zip(whole[7:], again, strict=True):
        assert torch.equal(one["image"], two["image"])
        assert torch.equal(one["index"], two["index"])


def test_chunks_behind_a_url_are_fetched_once_an_epoch(folder, tmp_path):
    import fsspec

    far = fsspec.filesystem("memory")
    far.put(folder, "/lit", recursive=True)
    module = data("memory://lit", label_column="label", cache_folder=str(tmp_path / "cache"))
    near = data(folder)
    for one, two in zip(epoch(module), epoch(near), strict=True):
        assert torch.equal(one["image"], two["image"])
        assert torch.equal(one["label"], two["label"])
    assert len(list((tmp_path / "cache").glob("*.bin"))) == 7
    findings = Findings()
    items = data("memory://lit", cache_folder=str(tmp_path / "other")).source.read(findings).train
    assert items[0].label is None
    assert "label_column" in str(findings.as_dict())
    assert not (tmp_path / "other").exists()


class Ran:
    """Tells where it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_pickled_columns_are_refused_by_name_and_never_read(tmp_path):
    folder = written(tmp_path, [{"file": png(array), "label": Ran()} for array in arrays(4)])
    assert json.loads((tmp_path / "index.json").read_text())["config"]["data_format"] == ["bytes", "pickle"]
    for options in ({"image_column": "label"}, {"label_column": "label"}):
        with pytest.raises(ShardError, match="not pickled, since a pickle can run any code, but 'label' is"):
            data(folder, **options).splits  # noqa: B018
    module = data(folder)
    assert len(epoch(module)) == 3
    assert "columns may be pickled, and are never read" in module.about()


def edited(folder, change):
    path = folder / "index.json"
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda plain: plain["config"].update(compression="zstd"), "written without compression"),
        (lambda plain: plain["config"].update(encryption={}, item_loader="TokensLoader"), "PyTreeLoader"),
        (lambda plain: plain["config"].update(data_format=["pil"]), "3 columns, but formats of 1"),
        (lambda plain: plain["config"].update(data_spec="[1, {}]"), "must be JSON as"),
        (lambda plain: plain["config"].update(data_spec="[" * 10_000), "must be JSON as"),
        (lambda plain: plain.update(chunks=[]), "it has no chunks"),
        (lambda plain: plain.update(chunks=[None]), "must be JSON as"),
        (lambda plain: plain["chunks"][0].update(filename="../../etc/passwd.bin"), "a plain name"),
        (lambda plain: plain["chunks"][0].update(filename="chunk-0-1.bin"), "is there twice"),
        (lambda plain: plain["chunks"][0].update(chunk_size=2**60), "items in"),
        (lambda plain: plain["chunks"][0].update(chunk_size=True), "items in"),
        (lambda plain: plain["chunks"][0].update(chunk_bytes=2**60), "bytes"),
        (lambda plain: plain["chunks"][0].update(chunk_bytes=5000), "must have 5,000 bytes"),
        (lambda plain: plain["chunks"].append({"filename": "b.bin", "chunk_bytes": 99, "chunk_size": 1}), "is missing"),
    ],
)
def test_an_index_that_cannot_be_right_is_told_in_a_line(change, told, folder, tmp_path):
    edited(tmp_path / "lit", change)
    with pytest.raises(ShardError, match=told) as met:
        data(folder).splits  # noqa: B018
    assert "\n" not in str(met.value)


@pytest.mark.parametrize("column", ["image", "file"])
def test_damaged_chunks_are_left_out_or_told_in_a_line(column, folder, tmp_path):
    rng = np.random.default_rng(0)
    lines, kept = [], []
    for _ in range(12):
        for path in sorted((tmp_path / "lit").glob("*.bin")):
            content = bytearray(path.read_bytes())
            for place in rng.integers(0, 60, 2):  # where numbers are
                content[place] = rng.integers(0, 256)
            path.write_bytes(content)
        module = data(folder, image_column=column)
        try:
            kept.append(len(module.splits.train))
        except ValueError as error:  # a label is gone
            lines.append(str(error))
    assert len(lines) + len(kept) == 12
    assert lines
    assert not any("\n" in line for line in lines)


def test_an_image_that_is_damaged_is_left_out_and_named(tmp_path):
    folder = written(tmp_path, [(png(array), n % 2) for n, array in enumerate(arrays(8))])
    path = tmp_path / "chunk-0-1.bin"
    content = bytearray(path.read_bytes())
    start = content.index(b"PNG")
    content[start : start + 3] = b"\0\0\0"
    path.write_bytes(content)
    module = data(folder, val_ratio=0, label_column="1")
    assert len(module.splits.train) == 7
    assert "row 4 (no image)" in module.about()


def test_no_litdata_no_folder_and_no_column_are_told_in_a_line(folder, tmp_path, monkeypatch):
    for module, told in (
        (data(str(tmp_path)), "must be a folder that `litdata.optimize` has written"),
        (data(folder, image_column="imag"), "`image_column` must name a column, but is 'imag'; nearest: image"),
        (data(folder, label_column="file"), "`label_column` must name a column of int, bool"),
        (data(folder, val_path=written(tmp_path / "v", [(1, 2)])), "`val_path` must have the columns of `path`"),
    ):
        with pytest.raises(ShardError, match=told):
            module.splits  # noqa: B018
    monkeypatch.setattr("unmask.data.shards.chunk_source.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"`vision.litdata` needs the package `litdata`: pip install litdata"):
        data(folder).splits  # noqa: B018


def test_sounds_are_those_that_were_written_and_go_into_shards(tmp_path):
    waves = [np.random.default_rng(n).normal(0, 0.1, 1600).astype(np.float32) for n in range(8)]
    items = []
    for number, wave in enumerate(waves):
        held = io.BytesIO()
        soundfile.write(held, wave, 8000, format="WAV", subtype="FLOAT")
        items.append({"sound": held.getvalue(), "label": "ab"[number % 2], "speaker": f"s{number % 3}"})
    folder = written(tmp_path / "lit", items)
    given = {"sample_rate": 8000, "seconds": 0.2, "batch_size": 2, "num_workers": 0}
    module = LitAudioData(folder, group_column="speaker", val_ratio=0, **given)
    for number, wave in enumerate(waves):
        sample = module.everything()["train"][number]
        assert torch.equal(sample["wave"], torch.from_numpy(wave))
        assert sample["speaker"] == f"s{number % 3}"
    words = ["--data", "audio.litdata", "--data.path", folder, "--data.sample_rate", "8000", "--data.seconds", "0.2"]
    assert main(["shard", *words, "--out", str(tmp_path / "shards")]) == 0
    assert (tmp_path / "shards" / "shards.json").is_file()


def test_images_go_into_shards(folder, tmp_path):
    words = ["--data", "vision.litdata", "--data.path", folder, "--out", str(tmp_path / "shards")]
    assert main(["shard", *words, "--shuffle", "false", "--shard_size", "10KB"]) == 0
    shards = ImageShardsData(str(tmp_path / "shards"), image_size=8)
    names = {part[place]["name"] for part in shards.splits[:2] for place in range(len(part))}
    assert names == {f"row {number}" for number in range(26)}
