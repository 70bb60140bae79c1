"""Images from files, folders and libraries."""

from __future__ import annotations

import gzip
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from unmask_vision.data.augment import CenterCrop, RandomResizedCropFlip
from unmask_vision.data.digits import DigitsData
from unmask_vision.data.folder import ImageFolderData
from unmask_vision.data.hub import HubImagesData
from unmask_vision.data.reading import Unreadable, check_image, read_image
from unmask_vision.data.torchvision_sets import TorchvisionData

RNG = np.random.default_rng(0)


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def save(path: Path, array: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def test_grey_and_colour(tmp_path: Path) -> None:
    grey, colour = noise(4, 6), noise(4, 6, 3)
    for ending in ("png", "bmp", "tif"):
        read = read_image(save(tmp_path / f"g.{ending}", grey), 3)
        assert torch.equal(read, torch.tensor(grey).expand(3, 4, 6))
        read = read_image(save(tmp_path / f"c.{ending}", colour), 3)
        assert torch.equal(read, torch.tensor(colour).permute(2, 0, 1))
    luma = np.asarray(Image.fromarray(colour).convert("L")).astype(int)
    assert np.abs(read_image(tmp_path / "c.png", 1)[0].numpy() - luma).max() <= 1
    assert read_image(save(tmp_path / "c.webp", colour), 3).shape == (3, 4, 6)
    assert read_image(save(tmp_path / "c.tiff", colour, compression="tiff_lzw"), 3).shape == (3, 4, 6)


def test_alpha_is_composited_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 0] = 100
    rgba[0, 0, 3], rgba[0, 1, 3] = 255, 51
    path = save(tmp_path / "a.png", rgba)
    image = read_image(path, 3)
    assert image[:, 0, 0].tolist() == [100, 0, 0]
    assert image[:, 1, 1].tolist() == [255, 255, 255]
    assert image[:, 0, 1].tolist() == [224, 204, 204]
    assert torch.equal(read_image(path, 4), torch.tensor(rgba).permute(2, 0, 1))
    assert read_image(save(tmp_path / "rgb.png", noise(2, 2, 3)), 4)[3].unique().tolist() == [255]

    Image.fromarray(rgba).convert("LA").save(tmp_path / "la.png")
    assert read_image(tmp_path / "la.png", 1)[0, 1, 1] == 255
    assert read_image(save(tmp_path / "a.tif", rgba), 3)[:, 1, 1].tolist() == [255, 255, 255]


def test_palette_and_cmyk(tmp_path: Path) -> None:
    flat = np.full((4, 4, 3), (200, 30, 60), np.uint8)
    Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "c.jpg", quality=100)
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "c.tif")
    for name in ("p.png", "c.jpg", "c.tif"):
        found = read_image(tmp_path / name, 3).float().mean((1, 2))
        assert (found - torch.tensor([200.0, 30, 60])).abs().max() < 4, name


def test_sixteen_bits(tmp_path: Path) -> None:
    deep = noise(3, 5, dtype=np.uint16)
    expected = torch.tensor(deep.astype(np.float32) / 65535)
    save(tmp_path / "d.png", deep)
    tifffile.imwrite(tmp_path / "d.tif", deep)
    np.save(tmp_path / "d.npy", deep)
    for name in ("d.png", "d.tif", "d.npy"):
        image = read_image(tmp_path / name, 1)
        assert torch.allclose(image[0], expected, atol=1e-7), name
        assert check_image(tmp_path / name, 1).fine
    colour = noise(3, 5, 3, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "c.tif", colour, photometric="rgb")
    assert torch.allclose(read_image(tmp_path / "c.tif", 3), torch.tensor(colour / 65535).permute(2, 0, 1).float())


def test_any_number_of_channels(tmp_path: Path) -> None:
    bands = RNG.random((6, 8, 5)).astype(np.float32)
    np.save(tmp_path / "last.npy", bands)
    np.save(tmp_path / "first.npy", np.moveaxis(bands, -1, 0))
    tifffile.imwrite(tmp_path / "last.tif", bands, photometric="minisblack", planarconfig="contig")
    tifffile.imwrite(tmp_path / "pages.tif", np.moveaxis(bands, -1, 0), photometric="minisblack")
    for name in ("last.npy", "first.npy", "last.tif", "pages.tif"):
        assert torch.equal(read_image(tmp_path / name, 5), torch.tensor(bands).permute(2, 0, 1)), name
        if name != "pages.tif":  # of which the first is an image by itself
            with pytest.raises(Unreadable, match=r"3 channels|channels instead of 3"):
                read_image(tmp_path / name, 3)
    np.save(tmp_path / "grey.npy", noise(6, 8))
    assert read_image(tmp_path / "grey.npy", 3).shape == (3, 6, 8)


def test_unreadable_files_say_why(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image at all")
    whole = save(tmp_path / "whole.jpg", noise(64, 64, 3)).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npy").write_text("neither")
    (tmp_path / "text.tif").write_text("nor this")
    (tmp_path / "empty.webp").write_bytes(b"")
    np.save(tmp_path / "waves.npy", np.ones((4, 4), np.complex64))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name in ("text.png", "half.jpg", "text.npy", "text.tif", "empty.webp", "waves.npy", "objects.npy"):
        with pytest.raises(Unreadable) as error:
            read_image(tmp_path / name, 3)
        assert str(error.value).splitlines() == [str(error.value)], name
    with pytest.raises(Unreadable, match=r"64 x 64 pixels are more than `max_pixels` = 100"):
        read_image(tmp_path / "whole.jpg", 3, max_pixels=100)
    Image.new("1", (2**20 + 1, 1)).save(tmp_path / "long.png")
    with pytest.raises(Unreadable, match=r"1048577 x 1 pixels are more than 1,048,576 along a side"):
        read_image(tmp_path / "long.png", 1)
    limit = Image.MAX_IMAGE_PIXELS
    assert limit is not None


def mixed_folder(root: Path) -> Path:
    save(root / "grey.png", noise(20, 30))
    save(root / "rgb.jpg", noise(30, 20, 3))
    save(root / "rgba.png", noise(24, 24, 4))
    save(root / "one.png", noise(1, 1, 3))
    save(root / "deep.png", noise(9, 17, dtype=np.uint16))
    save(root / "flat.webp", noise(2, 300, 3))
    np.save(root / "array.npy", noise(16, 16, 3))
    huge = np.broadcast_to(np.arange(6000, dtype=np.uint8), (4000, 6000))
    Image.fromarray(huge).save(root / "huge.jpg")
    data = (root / "rgb.jpg").read_bytes()
    (root / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (root / "text.png").write_text("no image")
    np.save(root / "bands.npy", noise(8, 8, 7))
    (root / "notes.txt").write_text("ignored")
    return root


def test_a_mixed_folder_trains_and_names_the_unreadable_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mixed_folder(tmp_path / "mixed")
    data = ImageFolderData(str(folder), image_size=16, batch_size=3, val_ratio=0.3, drop_last=False)
    data.setup("fit")
    told = capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if "cannot be used" in line]
    assert line.startswith("  3 cannot be used and are left out: bands.npy (shape (8, 8, 7) instead of 3 channels")
    assert all(name in line for name in ("truncated.jpg", "text.png"))
    assert "1 files with other endings are left out: notes.txt." in told
    assert "6 images to train on, 2 to validate on." in told
    batches = [*data.train_dataloader(), *data.val_dataloader()]
    assert sum(len(b["image"]) for b in batches) == 8
    for batch in batches:
        assert batch["image"].shape[1:] == (3, 16, 16)
        assert batch["image"].dtype == torch.float32  # one of them has 16 bits
        assert batch["image"].min() >= 0
        assert batch["image"].max() <= 1
        assert "label" not in batch

    with pytest.raises(ValueError, match=r"3 of 11 .*`on_unreadable` to 'skip'"):
        ImageFolderData(str(folder), image_size=16, on_unreadable="stop").setup("fit")


def colour_folder(root: Path, num_images: int = 12) -> Path:
    for i in range(num_images):
        save(root / ("cat" if i % 2 else "dog") / f"{i:02}.png", noise(10 + i, 20, 3))
    return root


def test_labels_are_the_sub_folders(tmp_path: Path) -> None:
    root = colour_folder(tmp_path / "pets")
    data = ImageFolderData(str(root), image_size=8, batch_size=4, val_ratio=0.25)
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].dtype == torch.uint8
    assert len(data.splits.train) + len(data.splits.val) == 12
    assert len(data.splits.val) == 3
    for part in (data.splits.probe_train, data.splits.probe_test):
        assert all(part[i]["label"] in (0, 1) for i in range(len(part)))
    files = data.splits.train
    assert [item.label for item in files.items] == [int(item.name.startswith("dog/")) for item in files.items]
    assert {item.name for item in files.items}.isdisjoint(item.name for item in data.splits.val.dataset.items)
    assert "label" not in ImageFolderData(str(root), image_size=8, labels=None).splits.train[0]
    save(root / "loose.png", noise(9, 9))
    assert "label" not in ImageFolderData(str(root), image_size=8).splits.train[0]

    other = colour_folder(tmp_path / "held out", 4)
    data = ImageFolderData(str(other), val_folder=str(root), image_size=8)
    assert (len(data.splits.train), len(data.splits.val)) == (4, 13)


def test_augmented_batches_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    root = colour_folder(tmp_path / "pets")
    epochs = []
    for num_workers in (0, 2):
        torch.manual_seed(3)
        data = ImageFolderData(str(root), image_size=8, batch_size=4, num_workers=num_workers)
        loader = data.train_dataloader()
        epochs.append([b["image"] for _ in range(2) for b in loader])
    assert len(epochs[0]) == 4
    assert all(torch.equal(a, b) for a, b in zip(*epochs, strict=True))
    assert not torch.equal(epochs[0][0], epochs[0][2])


def test_files_damaged_during_the_run_are_replaced(tmp_path: Path) -> None:
    root = colour_folder(tmp_path / "pets")
    data = ImageFolderData(str(root), image_size=8, batch_size=4)
    files = data.splits.train
    path = files.items[2].content
    path.write_bytes(path.read_bytes()[:60])
    with pytest.warns(UserWarning, match=f"{path.name} cannot be read .* so far: 1"):
        replaced = files[2]
    assert torch.equal(replaced["image"], files[3]["image"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files[2]  # told once
    files.on_unreadable = "stop"
    with pytest.raises(ValueError, match=path.name):
        files[2]


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ValueError, match=r"pictures holds nothing\."):
        ImageFolderData(str(tmp_path / "pictures")).setup("fit")
    with pytest.raises(ValueError, match=r"picturse does not exist. Nearest: .*pictures"):
        ImageFolderData(str(tmp_path / "picturse")).setup("fit")
    (tmp_path / "pictures" / "a.txt").write_text("a")
    with pytest.raises(ValueError, match=r"holds 1 files with other endings \(a\.txt\)"):
        ImageFolderData(str(tmp_path / "pictures")).setup("fit")
    (tmp_path / "pictures" / "a.png").write_text("a")
    with pytest.raises(
        ValueError, match=r"must have a single image that can be used, but has none: a\.png \(no image\)"
    ):
        ImageFolderData(str(tmp_path / "pictures")).setup("fit")
    for options, said in (
        ({"image_size": 0}, "`image_size` must be at least 1"),
        ({"image_size": (32, 64, 3)}, r"`image_size` must be one whole number, .* or two, .* but is \(32, 64, 3\)"),
        ({"val_ratio": 1.0}, r"`val_ratio` must be in \[0, 1\), but is 1.0"),
        ({"on_unreadable": "ignore"}, "`on_unreadable` must be 'skip' or 'stop'"),
        ({"augment": "crop"}, "`augment` must be 'crop-flip', 'none'"),
    ):
        with pytest.raises(ValueError, match=said):
            ImageFolderData(str(tmp_path), **options)  # type: ignore[arg-type]


def test_jpeg_is_decoded_no_larger_than_needed(tmp_path: Path) -> None:
    path = save(tmp_path / "large.jpg", noise(800, 1600))
    assert read_image(path, 1).shape == (1, 800, 1600)
    assert read_image(path, 1, around=4 * 32).shape == (1, 200, 400)
    assert read_image(path, 1, max_pixels=100_000, around=4 * 32).shape == (1, 200, 400)


def test_crops_keep_range_type_and_channels() -> None:
    torch.manual_seed(0)
    for image in (
        torch.rand(5, 30, 20),
        torch.randint(0, 256, (2, 1, 1), dtype=torch.uint8),
        torch.rand(1, 3, 4000),
    ):
        for transform in (RandomResizedCropFlip(16), CenterCrop(16)):
            out = transform({"image": image, "label": 3})
            assert out["label"] == 3
            assert out["image"].shape == (len(image), 16, 16)
            assert out["image"].dtype == image.dtype
            assert image.min() <= out["image"].min()
            assert out["image"].max() <= image.max()
    image = torch.rand(1, 8, 8)
    assert torch.equal(CenterCrop(8)({"image": image})["image"], image)
    whole = RandomResizedCropFlip(None, scale=(1.0, 1.0), flip=False)
    assert whole({"image": torch.rand(3, 9, 7)})["image"].shape == (3, 9, 7)
    crops = [RandomResizedCropFlip(8)({"image": image})["image"] for _ in range(2)]
    assert not torch.equal(*crops)
    with pytest.raises(ValueError, match=r"`scale` must be two numbers"):
        RandomResizedCropFlip(8, scale=(0.5, 0.2))


def test_crop_and_flip_are_options_of_the_data(tmp_path: Path) -> None:
    """A ramp of brightness: its range tells the width of a crop, its direction whether it was mirrored."""
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    for number in range(40):
        Image.fromarray(ramp).save(tmp_path / f"{number}.png")

    def rows(**options: Any) -> torch.Tensor:
        data = ImageFolderData(str(tmp_path), image_size=32, channels=1, batch_size=38, **options)
        torch.manual_seed(0)
        return next(iter(data.train_dataloader()))["image"][:, 0, 16].float()  # [B, 32]

    wide, narrow = rows(crop_scale=(0.9, 1.0), flip=False), rows(crop_scale=(0.05, 0.1), flip=False)
    assert (wide[:, -1] - wide[:, 0] > 180).all()
    assert ((narrow[:, -1] - narrow[:, 0] > 0) & (narrow[:, -1] - narrow[:, 0] < 110)).all()
    mirrored = rows(crop_scale=(0.9, 1.0))
    assert 5 < int((mirrored[:, -1] < mirrored[:, 0]).sum()) < 33
    with pytest.raises(ValueError, match="`scale` must be two numbers"):
        ImageFolderData(str(tmp_path), crop_scale=(0.0, 1.0), augment="none")


def test_digits() -> None:
    data = DigitsData(batch_size=64)
    train, val = data.splits.train, data.splits.val
    assert (len(train), len(val)) == (1297, 500)
    images = torch.stack([train[i]["image"] for i in range(len(train))])
    labels = torch.tensor([val[i]["label"] for i in range(len(val))])
    assert images.shape == (1297, 1, 8, 8)
    assert images.max() == 1
    assert images.min() == 0
    counts = torch.bincount(labels)
    assert counts.min() >= 48
    assert counts.max() <= 52
    torch.manual_seed(0)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (64, 1, 8, 8)
    assert batch["label"].dtype == torch.int64
    assert torch.equal(batch["image"], images[batch["index"]])
    again = DigitsData().splits.val
    assert [again[i]["label"] for i in range(len(again))] == labels.tolist()
    with pytest.raises(ValueError, match=r"`num_val` must be in \[10, 1787\], but is 5"):
        DigitsData(num_val=5)


def write_idx(root: Path, packed: bool) -> dict[str, np.ndarray]:
    root.mkdir()
    arrays = {
        "train-images-idx3-ubyte": noise(20, 28, 28), "train-labels-idx1-ubyte": noise(20) % 10,
        "t10k-images-idx3-ubyte": noise(6, 28, 28), "t10k-labels-idx1-ubyte": noise(6) % 10,
    }  # fmt: skip
    for name, array in arrays.items():
        data = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
        (root / (name + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)
    return arrays


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(tmp_path: Path, packed: bool) -> None:
    arrays = write_idx(tmp_path / "idx", packed)
    data = TorchvisionData("FashionMNIST", str(tmp_path / "idx"), batch_size=5)
    splits = data.splits
    assert torch.equal(splits.train[3]["image"], torch.tensor(arrays["train-images-idx3-ubyte"][3:4]))
    assert [splits.val[i]["label"] for i in range(6)] == arrays["t10k-labels-idx1-ubyte"].tolist()
    assert splits.probe_train is not None
    resized = TorchvisionData(
        "MNIST", str(tmp_path / "idx"), image_size=14, channels=3, augment="crop-flip", batch_size=5
    )
    assert next(iter(resized.train_dataloader()))["image"].shape == (5, 3, 14, 14)
    assert next(iter(resized.val_dataloader()))["image"].shape == (5, 3, 14, 14)

    path = tmp_path / "idx" / ("train-labels-idx1-ubyte" + ".gz" * packed)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.* (damaged|unpacked)"):
        TorchvisionData("FashionMNIST", str(tmp_path / "idx")).splits  # noqa: B018


def test_torchvision_classes(tmp_path: Path) -> None:
    root = colour_folder(tmp_path / "pets")
    data = TorchvisionData("ImageFolder", str(root), image_size=8, val_ratio=0.25, batch_size=3)
    assert (len(data.splits.train), len(data.splits.val)) == (9, 3)
    assert next(iter(data.train_dataloader()))["image"].shape == (3, 3, 8, 8)
    fake = TorchvisionData("FakeData", str(tmp_path), image_size=8, val_ratio=0.001)
    assert len(fake.splits.val) == 1
    assert fake.splits.val[0]["image"].dtype == torch.uint8


def test_torchvision_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"but is 'CIFAR11'. Nearest: CIFAR10"):
        TorchvisionData("CIFAR11", str(tmp_path)).setup("fit")
    with pytest.raises(ValueError, match=r"must hold the files of CIFAR10, .* Set `download` to True"):
        TorchvisionData("CIFAR10", str(tmp_path)).setup("fit")
    with pytest.raises(ValueError, match=r"FashionMNIST .*train-images-idx3-ubyte.*Set `download`"):
        TorchvisionData("FashionMNIST", str(tmp_path)).setup("fit")


def test_data_sets_on_disk(tmp_path: Path) -> None:
    import datasets

    pictures = [Image.fromarray(noise(10 + i, 12, 3)) for i in range(10)]
    features = datasets.Features({"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["a", "b"])})
    rows = datasets.Dataset.from_dict({"photo": pictures, "kind": [i % 2 for i in range(10)]}, features=features)
    rows.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": rows, "test": rows.select(range(4))}).save_to_disk(tmp_path / "both")

    data = HubImagesData(str(tmp_path / "one"), image_size=8, batch_size=4, val_ratio=0.2)
    assert (len(data.splits.train), len(data.splits.val)) == (8, 2)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 8, 8)
    assert batch["label"].shape == (4,)
    data = HubImagesData(str(tmp_path / "both"), image_size=8, channels=1)
    assert len(data.splits.val) == 4
    assert data.splits.val[1]["label"] == 1
    assert data.splits.train[0]["image"].shape == (1, 10, 12)

    for options, said in (
        ({"split": "trian"}, "`split` must be one of train, test, but is 'trian'"),
        ({"image_column": "photos"}, "`image_column` must name a column, but is 'photos'; nearest: photo"),
    ):
        with pytest.raises(ValueError, match=said):
            HubImagesData(str(tmp_path / "both"), **options).setup("fit")
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"`name` must be a data set that `datasets` can load"):
        HubImagesData(str(tmp_path / "none")).setup("fit")


def test_data_sets_need_their_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install datasets"):
        HubImagesData(str(tmp_path)).setup("fit")


def test_a_folder_has_labels_by_a_pattern_or_a_table(tmp_path):
    for number in range(6):
        _gray(tmp_path / f"{'cat' if number % 2 else 'dog'}-{number}.png", number)
    pattern = ImageFolderData(str(tmp_path), image_size=8, labels="pattern", pattern=r"(?P<label>[a-z]+)-\d")
    assert list(pattern.classes) == ["cat", "dog"]
    rows = "".join(f"{'cat' if n % 2 else 'dog'}-{n},{'odd' if n % 2 else 'even'}\n" for n in range(6))
    (tmp_path / "table.csv").write_text("file,label\n" + rows)
    table = ImageFolderData(str(tmp_path), image_size=8, labels="table", table=str(tmp_path / "table.csv"))
    assert list(table.classes) == ["even", "odd"]
    items = table.splits.train.items
    assert all(item.label == int(item.name.startswith("cat")) for item in items)


def test_a_part_without_labels_is_probed_on_the_part_that_has_some(tmp_path, monkeypatch):
    """As STL10, whose part `unlabeled` has the label -1."""

    class Parted:
        classes = ("cat", "dog")

        def __init__(self, root, split):
            count = {"train": 4, "unlabeled": 9, "test": 3}[split]
            self.labels = [-1] * count if split == "unlabeled" else [place % 2 for place in range(count)]

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, place):
            return Image.new("RGB", (8, 8), (place, 0, 0)), self.labels[place]

    monkeypatch.setattr("unmask_vision.data.torchvision_sets._class", lambda name: Parted)
    data = TorchvisionData("STL10", str(tmp_path), split="unlabeled")
    splits = data.splits
    assert "nothing can be probed" not in data.found() and "No labels" not in data.found()
    assert [len(part) for part in splits] == [9, 3, 4, 3]
    assert [sample["label"] for sample in (splits.probe_train[i] for i in range(4))] == [0, 1, 0, 1]
    assert "label" not in splits.train[0]


def test_every_part_that_is_read_is_downloaded(tmp_path, monkeypatch):
    """As SVHN, each part of which is a file of its own."""

    class Parted:
        def __init__(self, root, split, download=False):
            if download:
                (root / split).touch()
            if not (root / split).exists():
                raise RuntimeError("Dataset not found. You can use download=True")
            self.labels = [place % 2 for place in range(4)]

        def __len__(self):
            return 4

        def __getitem__(self, place):
            return Image.new("RGB", (8, 8), (place, 0, 0)), self.labels[place]

    monkeypatch.setattr("unmask_vision.data.torchvision_sets._class", lambda name: Parted)
    data = TorchvisionData("SVHN", str(tmp_path), download=True, split="extra")
    data.prepare_data()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["extra", "test", "train"]
    assert [len(part) for part in data.splits] == [4, 4, 4, 4]


def _gray(path, value):
    Image.new("L", (8, 8), 20 * value).save(path)
