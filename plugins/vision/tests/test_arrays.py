"""Arrays of images as they are: NumPy's files, IDX and HDF5, with their labels."""

from __future__ import annotations

import gzip
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unmask.api import main
from unmask_vision.data.array_data import ArraysData

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 8, 8, 3), np.uint8)
LABELS = np.arange(12) % 3


def data(images: Path, **options: Any) -> ArraysData:
    return ArraysData(
        str(images), **{"image_size": 8, "batch_size": 2, "val_ratio": 0.25, "augment": "none", **options}
    )


def first_of(made: ArraysData) -> tuple[torch.Tensor, np.ndarray]:
    """The first image to train on, and the same in the array."""
    item = made.splits.train.items[0]  # type: ignore[attr-defined]
    return made.splits.train[0]["image"], IMAGES[int(item.name.split()[1])]


def idx(path: Path, array: np.ndarray) -> Path:
    codes = {"uint8": 8, "int16": 11, "float32": 13}
    content = bytes([0, 0, codes[str(array.dtype)], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content += array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("last", [True, False])
def test_npy_with_labels_in_another_file(tmp_path: Path, last: bool) -> None:
    np.save(tmp_path / "x.npy", IMAGES if last else np.moveaxis(IMAGES, -1, 1))
    np.save(tmp_path / "y.npy", LABELS)
    made = data(tmp_path / "x.npy", labels=str(tmp_path / "y.npy"))
    told = made.found()
    assert told.splitlines()[0] == "12 images: 8 x 8 pixels, 3 classes."
    assert made.classes == ["0", "1", "2"]
    image, expected = first_of(made)
    assert torch.equal(image, torch.tensor(expected).permute(2, 0, 1))
    sample = made.splits.train[1]
    assert sample["label"] == int(made.splits.train.items[1].name.split()[1]) % 3  # type: ignore[attr-defined]
    items = made.splits.train.items  # type: ignore[attr-defined]
    assert len(pickle.dumps(items)) < 8000  # a loading process gets no copy of the array
    assert "label" not in data(tmp_path / "x.npy").splits.train[0]


def test_npz_by_usual_names_and_by_given_ones(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    assert data(tmp_path / "a.npz").found().startswith("12 images: 8 x 8 pixels, 3 classes.")
    words = np.array(["cat", "dog", "cat"] * 4)
    np.savez_compressed(tmp_path / "b.npz", photo=IMAGES, kind=words, other=IMAGES[:, :, :, 0])
    with pytest.raises(
        ValueError, match=r"`image_key` must name an array of b.npz, which holds `photo`, `kind`, `other`"
    ):
        data(tmp_path / "b.npz").setup("fit")
    made = data(tmp_path / "b.npz", image_key="photo", label_key="kind")
    made.setup("fit")
    assert made.classes == ["cat", "dog"]
    with pytest.raises(ValueError, match=r"`label_key` must be a name in b.npz, but is 'kin'; nearest: `kind`"):
        data(tmp_path / "b.npz", image_key="photo", label_key="kin").setup("fit")


@pytest.mark.parametrize("ending", ["idx3-ubyte", "idx.gz"])
def test_idx(tmp_path: Path, ending: str) -> None:
    images = idx(tmp_path / f"images-{ending}", IMAGES[..., 0])
    labels = idx(tmp_path / f"labels-{ending}", LABELS.astype(np.uint8))
    made = data(images, labels=str(labels), channels=1)
    assert made.found().startswith("12 images: 8 x 8 pixels, 3 classes.")
    image, expected = first_of(made)
    assert torch.equal(image[0], torch.tensor(expected[..., 0]))
    deep = idx(tmp_path / f"deep-{ending}", IMAGES[..., 0].astype(np.int16))
    scaled = data(deep, channels=1, scale="range", scale_range=(0, 255))
    assert torch.allclose(scaled.splits.train[0]["image"], image / 255)
    images.write_bytes(gzip.compress(b"\0\0\x08\x01") if ending.endswith("gz") else images.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"`images` must be an array as .npy, .npz, HDF5 .* cannot be read as one"):
        data(images, channels=1).setup("fit")


def test_hdf5(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["set/images"] = np.moveaxis(IMAGES, -1, 1)
        file["set/labels"] = np.array([b"cat", b"dog", b"cat"] * 4)
    made = data(tmp_path / "a.h5")
    made.setup("fit")
    assert made.classes == ["cat", "dog"]
    image, expected = first_of(made)
    assert torch.equal(image, torch.tensor(expected).permute(2, 0, 1))
    pickle.loads(pickle.dumps(made.splits.train.items))[0].read()  # type: ignore[attr-defined]


def test_hdf5_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"needs the package h5py: pip install 'unmask-vision\[hdf5\]'"):
        data(tmp_path / "a.h5").setup("fit")


def test_numbers_as_labels_and_another_part_to_validate_on(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES, y=np.linspace(0, 1, 12).astype(np.float32))
    np.savez(tmp_path / "b.npz", x=IMAGES[:3], y=np.zeros(3, np.float32))
    made = data(tmp_path / "a.npz", val_images=str(tmp_path / "b.npz"))
    assert "12 images to train on, 3 to validate on." in made.found()
    assert made.splits.train[3]["label"] == pytest.approx(3 / 11)


@pytest.mark.parametrize(
    ("array", "labels", "said"),
    [
        (IMAGES[0, 0], None, r"must hold images \[n, H, W\], .* has the shape \(8, 3\)"),
        (IMAGES, LABELS[:5], r"Labels must be as many as images, 12, but labels.npy has the shape \(5,\)"),
        (IMAGES.astype(np.complex64), None, "values of type complex64"),
        (IMAGES[..., :2], None, "channels first or last"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, array: Any, labels: Any, said: str) -> None:
    np.save(tmp_path / "images.npy", array)
    options = {}
    if labels is not None:
        np.save(tmp_path / "labels.npy", labels)
        options["labels"] = str(tmp_path / "labels.npy")
    with pytest.raises(ValueError, match=said):
        data(tmp_path / "images.npy", **options).setup("fit")


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    with pytest.raises(ValueError, match=r"there is no .*image\.npy\. Nearest: .*images\.npy\."):
        data(tmp_path / "image.npy").setup("fit")


def test_training_needs_no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    words = ["fit", "--config", "vision/mae-digits", "--data", "vision.arrays", "--data.images", "a.npz"]
    words += ["--data.channels", "1", "--data.image_size", "8", "--data.batch_size", "2", "--out", "run"]
    assert main([*words, "--trainer.max_steps", "1", "--trainer.accelerator", "cpu"]) == 0


KINDS = ["cat", "dog", "", "cat"] * 3


def labels_in(made: ArraysData) -> dict[str, Any]:
    """Labels by the number of the image."""
    made.setup("fit")
    every = made.everything()
    return {one["name"]: one.get("label") for part in every.values() for one in (part[i] for i in range(len(part)))}


def test_labels_of_a_table_in_the_order_of_the_images(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    (tmp_path / "t.csv").write_text("sep=;\nkind;who\n" + "".join(f"{kind};p{i % 2}\n" for i, kind in enumerate(KINDS)))
    made = data(tmp_path / "x.npy", table=str(tmp_path / "t.csv"), label_column="kind", group_column="who")
    found = labels_in(made)
    assert made.classes == ["cat", "dog"]
    assert [found[f"image {i}"] for i in range(12)] == [0, 1, -100, 0] * 3
    assert made.splits.probe_train is not None
    assert made.splits.probe_train[0]["who"] in ("p0", "p1")
    (tmp_path / "t.csv").write_text("label\n" + "a\n" * 5)
    with pytest.raises(
        ValueError, match=r"`table` must have a row for each of the 12 images, but t.csv has 5; or name"
    ):
        data(tmp_path / "x.npy", table=str(tmp_path / "t.csv")).setup("fit")
    again = made.elsewhere(str(tmp_path / "x.npy"))
    assert set(labels_in(again).values()) == {None}


def test_labels_of_a_table_by_an_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = np.array([f"g{i}".encode() for i in range(12)])
    np.savez(tmp_path / "a.npz", images=IMAGES[:8], ids=ids[:8], labels=LABELS[:8])
    np.savez(tmp_path / "b.npz", images=IMAGES[8:], ids=ids[8:])
    rows = [f"g{i},{i / 2},{i},{'x|y' if i % 2 else 'y'}" for i in (11, 3, 0, 4, 9, 10, 1, 2, 5, 6, 99)]
    (tmp_path / "t.csv").write_text("id,a,b,marks\n" + "\n".join(rows))
    options = {
        "val_images": str(tmp_path / "b.npz"),
        "table": str(tmp_path / "t.csv"),
        "id_column": "id",
        "id_key": "ids",
    }
    numbers = data(tmp_path / "a.npz", **options, label_column=["a", "b"], label_kind="numbers")
    numbers.setup("fit")
    assert numbers.everything()["val"][1]["label"].tolist() == [4.5, 9]
    told = capsys.readouterr().out
    assert "1 rows of `table` are of no image: g99." in told
    assert "2 images have no row in `table`: g7, g8." in told
    several = data(tmp_path / "a.npz", **options, label_column="marks", label_kind="multi-label")
    assert several.everything()["train"][3]["label"].tolist() == [1, 1]
    assert several.classes == ["x", "y"]
    by_number = {**options, "id_key": None, "id_column": "b"}
    plain = data(tmp_path / "a.npz", **by_number, label_column="a", label_kind="number")
    assert plain.everything()["train"][3]["label"] == 1.5
    with pytest.raises(ValueError, match=r"`id_key` must be a name in a.npz, but is 'idz'; nearest: `ids`"):
        data(tmp_path / "a.npz", **{**options, "id_key": "idz"}, label_column="a").setup("fit")
    (tmp_path / "t.csv").write_text("id,a\ng1,1\ng1,2\n")
    with pytest.raises(ValueError, match=r"`table` must have one row for each image, but t.csv has two for 'g1'"):
        data(tmp_path / "a.npz", **options, label_column="a").setup("fit")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": "y.npy", "table": "t.csv"}, "`labels` must be left out where `table` tells of labels"),
        ({"label_kind": "number"}, "`label_kind` must be left out without `table`, but is 'number'"),
        ({"table": "t.csv", "id_key": "ids"}, "`id_key` must be left out without `id_column`, but is 'ids'"),
        (
            {"table": "t.csv", "label_column": ["a", "b"]},
            "`label_column` must be one column where `label_kind` is 'class'",
        ),
        ({"table": "nowhere.csv"}, "`table` must be a table, such as a CSV file, but nowhere.csv cannot be read"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    with pytest.raises(ValueError, match=said):
        data(tmp_path / "x.npy", **options).setup("fit")


def test_a_header_that_numpy_cannot_even_tokenize_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'shape': (" + b" " * 90 + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64))
    with pytest.raises(ValueError, match=r"must be an array as \.npy"):
        ArraysData(str(tmp_path / "a.npy"), image_size=8).setup("fit")
