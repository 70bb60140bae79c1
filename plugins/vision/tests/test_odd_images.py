"""Images that would be read wrongly are read right, left out or told of: files, bits, and values."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from unmask.data import Findings
from unmask_vision.data import module, pixels
from unmask_vision.data.digits import DigitsData
from unmask_vision.data.folder import ImageFolderData
from unmask_vision.data.hub import HubImagesData
from unmask_vision.data.looks import Looks
from unmask_vision.data.reading import Unreadable, check_image, read_image
from unmask_vision.data.torchvision_sets import TorchvisionData

RNG = np.random.default_rng(0)


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def png_16(array: np.ndarray, kind: int, *chunks: bytes) -> bytes:
    """A PNG of 16 bits, which PIL cannot write in colour; ``kind`` 2: RGB, 4: grey and alpha, 6: RGB and alpha."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    return b"".join([
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)),
        *(chunk(one[:4], one[4:]) for one in chunks), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""),
    ])  # fmt: skip


def lzw_tiff(array: np.ndarray) -> bytes:
    """A TIFF ``[H, W, C]`` in LZW, which tifffile alone neither reads nor writes."""
    words = [256]
    for number, byte in enumerate(array.astype(array.dtype.newbyteorder("<")).tobytes()):
        words += ([256] if number and number % 250 == 0 else []) + [byte]  # so that all words have 9 bits
    bits = "".join(f"{word:09b}" for word in [*words, 257])
    data = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))
    height, width, channels = array.shape
    depth = 8 * array.dtype.itemsize
    tags = [
        (256, 3, [width]), (257, 3, [height]), (258, 3, [depth] * channels), (259, 3, [5]), (262, 3, [2]),
        (273, 4, [0]), (277, 3, [channels]), (278, 3, [height]), (279, 4, [len(data)]), (284, 3, [1]),
        *([(338, 3, [0 if channels == 4 else 2])] if channels == 4 else []),
    ]  # fmt: skip
    after = 8 + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for tag, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if tag == 273:
            packed = struct.pack("<I", after + 2 * channels)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", after + len(extra)), extra + packed
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    extra = extra.ljust(2 * channels, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + extra + data


def small(root: Path, **options: Any) -> ImageFolderData:
    return ImageFolderData(str(root), **{"image_size": 8, "batch_size": 2, "val_ratio": 0.25, **options})


class TestFiles:
    def test_hidden_linked_and_odd_files_are_counted_and_are_no_classes(self, tmp_path):
        root = tmp_path / "images"
        for name in ("a/0.png", "a/1.png", "b/2.png", "b/3.png", ".ipynb_checkpoints/0.png", "a/._0.png"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(8, 8, 3)).save(root / name)
        (root / "b" / "anim.svg").write_text("no image of pixels")
        (root / "b" / "up").symlink_to(root, target_is_directory=True)
        (root / "b" / "again.png").symlink_to(root / "a" / "0.png")
        (root / "b" / "gone.png").symlink_to(root / "nowhere.png")
        os.mkfifo(root / "b" / "z.png")
        data = small(root)
        told = data.found()
        assert told.splitlines()[0] == "4 images: 8 x 8 pixels, 2 classes."
        for line in (
            "classes: a, b.",
            "3 images to train on, 1 to validate on.",
            "2 hidden files and folders are left out: .ipynb_checkpoints, a/._0.png.",
            "1 files with other endings are left out: b/anim.svg.",
            "1 pipes, sockets and devices are left out: b/z.png.",
            "1 links that lead nowhere are left out: b/gone.png.",
        ):
            assert f"  {line}" in told.splitlines()
        assert "2 links to files and folders that are found anyway are left out" in told
        assert data.classes == ["a", "b"]
        items = [*data.splits.train.items, *data.splits.val.dataset.items]
        assert len({item.content.resolve() for item in items}) == len(items) == 4

        other = TorchvisionData("ImageFolder", str(root), image_size=8, val_ratio=0.25, batch_size=2)
        assert other.found().startswith("4 images: 8 x 8 pixels, 2 classes.")
        assert other.found().endswith("3 images to train on, 1 to validate on.")
        assert "2 hidden files" in other.found()
        assert other.classes == ["a", "b"]

    def test_classes_that_some_images_lack_are_told_of(self, tmp_path):
        for name in ("all/a/0.png", "all/a/1.png", "all/loose.png", "val/a/2.png", "val/c/3.png"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(8, 8, 3)).save(tmp_path / name)
        data = small(tmp_path / "all")
        assert "1 files lie beside the folders, which are therefore no classes: loose.png." in data.found()
        assert list(data.classes) == []
        (tmp_path / "all" / "loose.png").unlink()
        data = small(tmp_path / "all", val_folder=tmp_path / "val")
        assert "1 images to validate on are of classes that none to train on is of: c/3.png." in data.found()
        same = small(tmp_path / "all", val_folder=tmp_path / "all" / "a", labels=None).found()
        assert "2 files to validate on are also among those to train on: 0.png, 1.png." in same

    def test_sources_without_files_say_what_they_have(self):
        assert (
            DigitsData().found().startswith("1,797 images: 8 x 8 pixels, 10 classes.\n  classes: 0, 1, 2, 3, 4 and 5")
        )


class TestBits:
    @pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4), (4, 2)])
    def test_png_of_16_bits_in_colour_is_read_in_full(self, tmp_path, kind, channels):
        deep = noise(5, 7, channels, dtype=np.uint16)
        (tmp_path / "x.png").write_bytes(png_16(deep, kind))
        image = read_image(tmp_path / "x.png", channels)
        assert torch.equal(image, torch.tensor(deep.astype(np.float32) / np.float32(65535)).permute(2, 0, 1))
        assert check_image(tmp_path / "x.png", channels).fine
        assert read_image(tmp_path / "x.png", 1).dtype == torch.float32

    def test_a_colour_that_stands_for_transparent_counts_in_16_bits(self, tmp_path):
        deep = noise(2, 2, 3, dtype=np.uint16)
        clear = b"tRNS" + struct.pack(">HHH", *map(int, deep[0, 1]))
        (tmp_path / "x.png").write_bytes(png_16(deep, 2, clear))
        image = read_image(tmp_path / "x.png", 3)
        assert image[:, 0, 1].tolist() == [1, 1, 1]
        assert torch.equal(image[:, 1, 1], torch.tensor(deep[1, 1].astype(np.float32) / np.float32(65535)))

    def test_lzw_tiff_of_16_bits_is_read_as_the_uncompressed(self, tmp_path):
        deep = noise(6, 9, 3, dtype=np.uint16)
        tifffile.imwrite(tmp_path / "plain.tif", deep, photometric="rgb")
        (tmp_path / "lzw.tif").write_bytes(lzw_tiff(deep))
        assert torch.equal(read_image(tmp_path / "lzw.tif", 3), read_image(tmp_path / "plain.tif", 3))
        assert torch.equal(read_image(io.BytesIO(lzw_tiff(deep)), 3), read_image(tmp_path / "plain.tif", 3))
        assert check_image(tmp_path / "lzw.tif").fine

    def test_no_channel_of_a_compressed_tiff_is_lost(self, tmp_path):
        for dtype in (np.uint8, np.uint16):
            bands = noise(6, 9, 4, dtype=dtype)
            (tmp_path / "x.tif").write_bytes(lzw_tiff(bands))
            with pytest.raises(Unreadable, match="4 channels"):
                read_image(tmp_path / "x.tif", 3)

    def test_what_can_be_read_at_8_bits_only_is_named(self, tmp_path):
        deep = noise(4, 6, 3, dtype=np.uint16)
        (tmp_path / "deep.ppm").write_bytes(b"P6 6 4 65535\n" + deep.astype(">u2").tobytes())
        for number in range(3):
            Image.fromarray(noise(8, 8, 3)).save(tmp_path / f"{number}.png")
        data = small(tmp_path, extensions=(".png", ".ppm"))
        assert "  1 are read at 8 of their 16 bits: deep.ppm." in data.found().splitlines()

        coded = io.BytesIO()
        Image.fromarray(noise(8, 8, 3)).save(coded, "JPEG2000")
        changed = bytearray(coded.getvalue())
        sizes = changed.find(b"\xff\x4f\xff\x51") + 42
        changed[sizes : sizes + 9 : 3] = b"\x0b" * 3  # 12 bits
        for content, found in (
            (coded.getvalue(), {}),
            (bytes(changed), {"are read at 8 of their 12 bits": (1, ["x"])}),
        ):
            findings = Findings()
            check_image(io.BytesIO(content), findings=findings, name="x")
            assert findings.odd == found

        coded = io.BytesIO()
        Image.fromarray(noise(8, 8, 3)).save(coded, "JPEG")
        changed = bytearray(coded.getvalue())
        changed[changed.find(b"\xff\xc0") + 4] = 12
        with pytest.raises(Unreadable, match="a JPEG of 12 bits; 8 are known"):
            read_image(io.BytesIO(changed), 3)

    def test_finer_images_that_turn_up_later_are_warned_about(self, tmp_path, monkeypatch):
        for number in range(4):
            Image.fromarray(noise(8, 8)).save(tmp_path / f"{number}.png")
        Image.fromarray(noise(8, 8, dtype=np.uint16)).save(tmp_path / "z.png")
        monkeypatch.setattr(module, "FULL_CHECK_BYTES", 0)
        monkeypatch.setattr(module, "HEADER_CHECK_FILES", 3)
        files = small(tmp_path, val_folder=tmp_path).splits.train
        with pytest.warns(UserWarning, match=r"z\.png is one of the images that are finer than 8 bits"):
            assert files[4]["image"].dtype == torch.uint8

    def test_image_folder_of_torchvision_cuts_nothing(self, tmp_path):
        (tmp_path / "a").mkdir()
        Image.fromarray(noise(8, 8, dtype=np.uint16)).save(tmp_path / "a" / "x.png")
        with pytest.raises(ValueError, match=r"x\.png is finer than 8 bits.*`vision\.folder`"):
            TorchvisionData("ImageFolder", str(tmp_path), image_size=8).setup("fit")


class TestStrips:
    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_large_images_become_what_they_would_be_at_once(self, tmp_path, monkeypatch, channels):
        images = {"rgba.png": noise(13, 7, 4), "rgb.jpg": noise(13, 7, 3), "grey.png": noise(13, 7)}
        for name, array in images.items():
            Image.fromarray(array).save(tmp_path / name)
        Image.fromarray(noise(13, 7, 3)).convert("P").save(tmp_path / "palette.png")
        np.save(tmp_path / "floats.npy", RNG.random((13, 7, 3)))
        tifffile.imwrite(tmp_path / "rgba.tif", noise(13, 7, 4), photometric="rgb", extrasamples=[2])
        names = [path for path in sorted(tmp_path.iterdir()) if channels in (1, 3) or path.suffix != ".npy"]
        whole = [read_image(path, channels) for path in names]
        monkeypatch.setattr(pixels, "_STRIP_PIXELS", 21)
        for path, image in zip(names, whole, strict=True):
            assert torch.equal(read_image(path, channels), image), path.name

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_tiff_are_turned_as_pil_turns_them(self, tmp_path, orientation):
        array = noise(4, 6, 3)
        tifffile.imwrite(tmp_path / "x.tif", array, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
        with Image.open(tmp_path / "x.tif") as image:
            expected = torch.tensor(np.array(image)).permute(2, 0, 1)
        assert torch.equal(read_image(tmp_path / "x.tif", 3), expected)


def hub_of(root: Path, images: list[bytes], **columns: Any) -> str:
    """A data set on disk, of the contents of image files."""
    import datasets

    cells = [{"bytes": content, "path": None} for content in images]
    kinds = {name: value for name, (value, _) in columns.items()}
    features = datasets.Features({"image": datasets.Image(), **kinds})
    rows = {"image": cells} | {name: values for name, (_, values) in columns.items()}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(root / "set")
    return str(root / "set")


def tiff_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric="minisblack" if array.shape[-1] != 3 else "rgb")
    return file.getvalue()


class TestValues:
    @pytest.mark.parametrize("kind", ["tif", "npy"])
    def test_values_that_are_not_finite_become_0_and_are_counted(self, tmp_path, kind):
        for number in range(4):
            values = RNG.random((8, 8, 3)).astype(np.float32)
            if number == 2:
                values[:3, 2, 1] = np.nan, np.inf, -np.inf
            if kind == "tif":
                tifffile.imwrite(tmp_path / f"{number}.tif", values, photometric="rgb")
            else:
                np.save(tmp_path / f"{number}.npy", values)
        data = small(tmp_path)
        assert f"  1 have values that are not finite, which became 0: 2.{kind}." in data.found().splitlines()
        for part in (data.splits.train, data.splits.val):
            assert all(part[number]["image"].isfinite().all() for number in range(len(part)))
        image = read_image(tmp_path / f"2.{kind}", 3)
        assert image[1, :3, 2].tolist() == [0, 0, 0]
        assert (image == 0).sum() == 3
        grey = read_image(tmp_path / f"2.{kind}", 1)  # a mean of channels spreads NaN
        assert grey.isfinite().all()

    def test_they_are_warned_about_when_they_turn_up_later(self, tmp_path, monkeypatch):
        for number in range(4):
            np.save(tmp_path / f"{number}.npy", RNG.random((8, 8, 3)))
        files = small(tmp_path, val_folder=tmp_path).splits.train
        np.save(tmp_path / "1.npy", np.where(RNG.random((8, 8, 3)) < 0.5, np.nan, 0.5))
        with pytest.warns(UserWarning, match=r"1\.npy is one of the images that have values that are not finite"):
            assert files[1]["image"].isfinite().all()

    def test_images_without_a_finite_value_are_left_out(self, tmp_path):
        for number in range(4):
            values = np.full((8, 8, 3), np.nan) if number == 2 else RNG.random((8, 8, 3))
            np.save(tmp_path / f"{number}.npy", values)
        data = small(tmp_path)
        assert "1 cannot be used and are left out: 2.npy (none of its values is finite)." in data.found()

    @pytest.mark.parametrize("in_full", [True, False])
    def test_12_bits_in_16_are_told_with_what_to_do(self, tmp_path, monkeypatch, in_full):
        if not in_full:
            monkeypatch.setattr(module, "FULL_CHECK_BYTES", 1)
        for number in range(4):
            bands = RNG.integers(300, 3500, (8, 8, 5), dtype=np.uint16)
            tifffile.imwrite(tmp_path / f"{number}.tif", bands, photometric="minisblack", planarconfig="contig")
        (line, _) = small(tmp_path, channels=5).found().splitlines()[1:]
        assert line.startswith(f"  The values of {4 if in_full else 1} image")
        assert "as 16-bit numbers), so near together that all images look alike." in line
        assert line.endswith("Scale them by what they are: `--data.scale percentiles`, or `range` or `mean-std`.")
        scaled = small(tmp_path, channels=5, scale="range", scale_range=(0, 100000)).found()
        means = json.loads(scaled.partition("--model.tokenizer.mean '")[2].partition("'")[0])
        assert means == pytest.approx([1900 / 100000] * 5, rel=0.2)
        assert "near together" not in small(tmp_path, channels=5, scale="percentiles").found()

    def test_floats_outside_0_and_1_are_told(self, tmp_path):
        for number in range(4):
            np.save(tmp_path / f"{number}.npy", -30 + 10 * RNG.random((8, 8, 3)))
        assert "The values of 4 images lie in [-" in small(tmp_path).found()
        assert "but those of floats should lie in [0, 1]. Scale them" in small(tmp_path).found()

    def test_ordinary_images_and_empty_ones(self, tmp_path):
        looks = Looks()
        looks.see(torch.full((3, 8, 8), 7, dtype=torch.uint8))
        assert list(looks.lines()) == ["The values of 1 image are all 0.02745: there is nothing to learn from."]
        looks.see(torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8))
        assert list(looks.lines()) == []

    def test_hub_data_is_held_to_the_same(self, tmp_path):
        odd = RNG.random((8, 8)).astype(np.float32)
        odd[0, 0] = np.nan
        whole = RNG.random((8, 8)).astype(np.float32)
        data = HubImagesData(hub_of(tmp_path, [tiff_of(whole)] * 3 + [tiff_of(odd)]), image_size=8, val_ratio=0.25)
        assert "1 have values that are not finite, which became 0: row" in data.found()
        assert all(data.splits.train[number]["image"].isfinite().all() for number in range(3))
        deep = noise(8, 8, 3, dtype=np.uint16)
        data = HubImagesData(hub_of(tmp_path / "b", [png_16(deep, 2)] * 3), image_size=8, val_ratio=0.3)
        expected = torch.tensor(deep.astype(np.float32) / np.float32(65535)).permute(2, 0, 1)
        assert torch.equal(data.splits.train[0]["image"], expected)
        few = [png_16(noise(8, 8, 3, dtype=np.uint16) // 64, 2)] * 3
        assert "so near together" in HubImagesData(hub_of(tmp_path / "c", few), image_size=8, val_ratio=0.3).found()

    def test_hub_data_that_is_finer_by_a_later_row(self, tmp_path):
        coded = io.BytesIO()
        Image.fromarray(noise(8, 8, 3)).save(coded, "PNG")
        rows = [coded.getvalue()] * 3 + [png_16(noise(8, 8, 3, dtype=np.uint16), 2)]
        data = HubImagesData(hub_of(tmp_path, rows), image_size=8, val_ratio=0.25)
        assert {data.splits.train[number]["image"].dtype for number in range(3)} == {torch.float32}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "GIF"])
def test_a_small_file_that_unpacks_to_too_much_is_refused(kind: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("unmask.data.unpacking.MOST", 2**16)
    path = tmp_path / f"a.{kind.lower()}"
    options = {"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {}
    Image.new("L", (600, 600)).save(path, format=kind, **options)
    with pytest.raises(Unreadable, match="it must unpack to at most"):
        read_image(path)
    with pytest.raises(Unreadable, match="it must unpack to at most"):
        check_image(path)


def test_postscript_is_no_image_and_starts_no_program(tmp_path: Path, monkeypatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", never)
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    for look in (read_image, check_image):
        with pytest.raises(Unreadable, match="no image"):
            look(path)
