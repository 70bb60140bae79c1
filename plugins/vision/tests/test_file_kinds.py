"""Kinds of image files: compressed and tiled TIFF, several frames or pages, HEIC and AVIF."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from unmask.data import Findings
from unmask_vision.data.folder import ImageFolderData
from unmask_vision.data.reading import Frame, Unreadable, check_image, num_frames, read_image

RNG = np.random.default_rng(0)


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_tiff_of_many_bands(tmp_path: Path, dtype: str, planar: str, tile: Any) -> None:
    bands = (1000 * RNG.random((5, 40, 24))).astype(dtype)
    written = bands if planar == "separate" else np.moveaxis(bands, 0, -1)
    options: Any = {"photometric": "minisblack", "planarconfig": planar, "compression": "zlib", "tile": tile}
    tifffile.imwrite(tmp_path / "a.tif", written, **options)
    image = read_image(tmp_path / "a.tif", 5)
    assert image.shape == (5, 40, 24)
    np.save(tmp_path / "a.npy", bands)
    assert torch.equal(image, read_image(tmp_path / "a.npy", 5))
    with pytest.raises(Unreadable, match=r"5 channels|channels instead of 3"):
        read_image(tmp_path / "a.tif", 3)


@pytest.mark.parametrize(
    ("compression", "dtype", "bands"),
    [("lzw", "float32", 5), ("zstd", "uint16", 4), ("zstd", "uint16", 1), ("lzw", "int16", 1), ("jpeg", "uint8", 5)],
)
def test_codecs_of_tiff(tmp_path: Path, compression: str, dtype: str, bands: int) -> None:
    """With imagecodecs all of it is read; `test_what_lacks_a_codec_is_named` is the same without."""
    import imagecodecs  # noqa: F401  of the extra `tiff`

    values = np.tile(np.arange(24, dtype=dtype), (bands, 32, 1)) * 5
    options: Any = {"photometric": "minisblack", "planarconfig": "separate", "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", values if bands > 1 else values[0], **options)
    np.save(tmp_path / "a.npy", values)
    image, expected = (read_image(tmp_path / name, bands).float() for name in ("a.tif", "a.npy"))
    assert (image - expected).abs().max() <= (4 if compression == "jpeg" else 0)


@pytest.mark.parametrize(("mode", "compression"), [("I;16", "tiff_lzw"), ("F", "tiff_lzw"), ("RGB", "jpeg")])
def test_what_pil_reads_in_full_needs_no_codec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, compression: str
) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    kinds = {"I;16": noise(8, 8, dtype=np.uint16), "F": RNG.random((8, 8), np.float32), "RGB": np.full((16, 16, 3), 9)}
    array = kinds[mode]
    Image.fromarray(array.astype(np.uint8) if mode == "RGB" else array).save(
        tmp_path / "a.tif", compression=compression
    )
    channels = 3 if mode == "RGB" else 1
    image = read_image(tmp_path / "a.tif", channels)
    if mode != "RGB":
        expected = array.astype(np.float32) / (65535 if mode == "I;16" else 1)
        assert torch.equal(image[0], torch.tensor(expected))
    assert check_image(tmp_path / "a.tif", channels).fine == (mode != "RGB")


def test_what_lacks_a_codec_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a silent reading of 8 bits: kinds that PIL cannot read in full name the extra."""
    whole = noise(16, 16, 3, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", whole, photometric="rgb", compression="zlib", planarconfig="contig")
    written = bytearray((tmp_path / "a.tif").read_bytes())
    for code in (50000, 34925):  # ZSTD and LZMA by name alone, over bytes that neither reads
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            tag = tiff.pages.first.tags["Compression"]
            written[tag.valueoffset : tag.valueoffset + 2] = code.to_bytes(2, "little")
        (tmp_path / "b.tif").write_bytes(written)
        monkeypatch.setattr(tifffile.TiffPage, "asarray", _lacking)
        monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", _lacking)
        with pytest.raises(Unreadable, match=r"pip install 'unmask-vision\[tiff\]'"):
            read_image(tmp_path / "b.tif", 3)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32", "uint16"])
def test_pil_and_tifffile_agree_on_whole_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    values = noise(6, 8, dtype=np.dtype(dtype))
    values[0, 0] = 7
    nodata: Any = [(42113, "s", 0, "7", True)]
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", compression="zlib", extratags=nodata)
    expected = read_image(tmp_path / "a.tif", 1)
    assert expected[0, 0, 0] == 0
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", _lacking)
    assert torch.equal(read_image(tmp_path / "a.tif", 1), expected)


def _lacking(*args: Any, **options: Any) -> None:
    raise ValueError("<COMPRESSION.ZSTD: 50000> requires the 'imagecodecs' package")


def animation(path: Path, count: int = 3) -> list[np.ndarray]:
    frames = [np.full((8, 8, 3), 60 * (number + 1), np.uint8) for number in range(count)]
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=100)
    return frames


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_frames(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    frames = animation(path)
    assert num_frames(path) == 3
    findings = Findings()
    first = read_image(path, 3, findings=findings, name="a")
    assert first.float().mean() == pytest.approx(60, abs=3)
    assert findings.odd == {"have several frames or pages, of which the first is read": (1, ["a"])}
    header = Findings()
    check_image(path, 3, findings=header, name="a")
    assert header.odd == findings.odd
    for number, frame in enumerate(frames):
        assert read_image(Frame(path, number), 3).float().mean() == pytest.approx(frame.mean(), abs=3)


def test_all_frames_are_images_of_their_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        animation(tmp_path / name / "x.gif", 4)
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a" / "y.png")
    options: Any = {"image_size": 8, "batch_size": 2, "val_ratio": 0.25}
    first, every = (ImageFolderData(str(tmp_path), frames=frames, **options) for frames in ("first", "all"))
    assert "3 images" in first.found()
    assert (
        "  2 have several frames or pages, of which the first is read: a/x.gif, b/x.gif." in first.found().splitlines()
    )
    assert "9 images" in every.found()
    assert "of which the first" not in every.found()
    assert "a/x.gif [0]" in {item.name for item in every.parts[0].items}
    assert every.classes == ["a", "b"]


def test_smaller_copies_in_a_tiff_are_no_pages(tmp_path: Path) -> None:
    whole = noise(64, 64, dtype=np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(whole, photometric="minisblack", subifds=0)
        writer.write(whole[::2, ::2], photometric="minisblack", subfiletype=1)
    findings = Findings()
    assert read_image(tmp_path / "a.tif", 1, findings=findings).shape == (1, 64, 64)
    assert num_frames(tmp_path / "a.tif") == 1
    assert findings.odd == {}


def test_avif(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16, 3), 100, np.uint8)).save(tmp_path / "a.avif")
    assert read_image(tmp_path / "a.avif", 3).float().mean() == pytest.approx(100, abs=3)
    assert ".avif" in ImageFolderData.__init__.__defaults__[-2]  # type: ignore[index]


def test_heic_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(Unreadable, match=r"HEIC needs the package pillow-heif: pip install 'unmask-vision\[heif\]'"):
        read_image(tmp_path / "a.heic", 3)


def test_heic(tmp_path: Path) -> None:
    import pillow_heif

    image = Image.fromarray(np.full((64, 64, 3), 100, np.uint8))
    pillow_heif.from_pillow(image).save(tmp_path / "a.heic")
    assert read_image(tmp_path / "a.heic", 3).float().mean() == pytest.approx(100, abs=3)
    assert check_image(tmp_path / "a.heic", 3)[:2] == (64, 64)
