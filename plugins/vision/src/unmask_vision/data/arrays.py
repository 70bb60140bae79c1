"""Images in files of plain numbers, NumPy's and TIFF, of any number of channels: ``[H, W, C]`` arrays."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from unmask.data import Unreadable, check_unpacked

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else damaged files print what it met
NEEDS_CODECS = "needs the package imagecodecs: pip install 'unmask-vision[tiff]'"
NODATA = 42113
"""GDAL's tag of a TIFF: the number that stands for no data, as text."""
MOST_SIDE = 2**20
"""Pixels along a side of an image."""
_ORIENTATION = 0x0112


class TiffHeader(NamedTuple):
    """What the header of a TIFF says.

    Args:
        shape: height and width.
        dtype: type of its values.
        num_left: pages beyond the first that are no bands of one image, and are left out.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    num_left: int


class Bands(NamedTuple):
    """What was read of a TIFF.

    Args:
        array: ``[H, W, C]``.
        alpha: whether the last channel is alpha.
        nodata: the number that stands for no data, by the file's own tag (GDAL's); None: it has none.
        num_left: as in `TiffHeader`.
    """

    array: np.ndarray
    alpha: bool
    nodata: float | None
    num_left: int


class Encoded(NamedTuple):
    """Why a TIFF was not read here: ``codec`` is a compression that tifffile needs imagecodecs for; None: a kind that
    is left to PIL."""

    codec: str | None


def open_npy(source: Path | BinaryIO, channels: int, max_pixels: int) -> np.ndarray:
    """``[H, W, C]``; that of a path is not yet in memory.

    Raises:
        Unreadable: axes or channels that do not fit, too many pixels, or values that are no real numbers.
    """
    mapped = "r" if isinstance(source, Path) else None
    array = np.load(source, mmap_mode=mapped, allow_pickle=False)  # type: ignore[arg-type]
    return channels_last(array, channels, max_pixels)


def channels_last(array: np.ndarray, channels: int, max_pixels: int) -> np.ndarray:
    """``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` as ``[H, W, C]``.

    Raises:
        Unreadable: as `open_npy`.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise Unreadable(f"an array of {array.ndim} axes instead of 2 or 3")
    last, first = array.shape[-1], array.shape[0]
    convertible = (1, 3) if channels in (1, 3) else ()
    if last != channels and (first == channels or (first in convertible and last not in convertible)):
        array = np.moveaxis(array, 0, -1)
    if array.shape[-1] != channels and array.shape[-1] not in convertible:
        raise Unreadable(f"shape {tuple(array.shape)} instead of {channels} channels first or last")
    check_dtype(array.dtype)
    check_pixels(array.shape[1], array.shape[0], max_pixels)
    return array


def tiff_header(source: Path | BinaryIO, channels: int, max_pixels: int) -> TiffHeader | None:
    """None for kinds that are left to PIL.

    Raises:
        Unreadable: too many pixels, or values that are no real numbers.
    """
    with _tiff(source) as tiff:
        page = tiff.pages.first
        if not _is_plain(page):
            return None
        part, num_left = _chosen(tiff, channels, None)
        check_pixels(page.imagewidth, page.imagelength, max_pixels)
        check_dtype(part.dtype)
        _check_packed(part, source)
        return TiffHeader((page.imagelength, page.imagewidth), np.dtype(part.dtype), num_left)


def read_tiff(source: Path | BinaryIO, channels: int, max_pixels: int, frame: int | None = None) -> Bands | Encoded:
    """The image, of any compression that tifffile knows, tiled or in strips, channels in any order.

    Args:
        source: the file.
        channels: number asked for; as many pages of one channel are one image.
        max_pixels: larger images are not decoded.
        frame: number of the page; None: the image, or the first page.

    Raises:
        Unreadable: as `tiff_header`, or another number of channels.
    """
    with _tiff(source) as tiff:
        page = tiff.pages.first if frame is None else _pages(tiff)[frame]
        if not _is_plain(page):
            return Encoded(None)
        part, num_left = _chosen(tiff, channels, frame)
        check_pixels(page.imagewidth, page.imagelength, max_pixels)
        check_dtype(part.dtype)
        _check_packed(part, source)
        if len(part.shape) > 2 and part.axes[-1] != "S" and part.shape[0] not in (channels, 1, 3):
            raise Unreadable(f"{part.shape[0]} channels instead of {channels}")
        try:
            array = np.squeeze(part.asarray()) if len(part.shape) > 3 else part.asarray()
        except (ValueError, ImportError) as error:
            if "imagecodecs" in str(error):  # a compression that PIL may know
                return Encoded(page.compression.name)
            raise
        if array.ndim == 2:
            array = array[..., None]
        elif array.ndim != 3:
            raise Unreadable(f"a stack of shape {part.shape} instead of one image")
        elif part.axes[-1] != "S":
            array = np.moveaxis(array, 0, -1)
        alpha = any(int(kind) in (1, 2) for kind in page.extrasamples) and array.shape[-1] in (2, 4)
        turned = page.tags.get(_ORIENTATION)
        upright = _upright(array, 1 if turned is None else int(turned.value))
        nodata = page.tags.get(NODATA)
        return Bands(upright, alpha, nodata_number(nodata and nodata.value), num_left)


def num_pages(source: Path | BinaryIO) -> int:
    """Images in a TIFF, smaller copies and masks left out."""
    with _tiff(source) as tiff:
        return len(_pages(tiff))


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuses images of more pixels than asked for, of none, or longer than any camera or scanner makes them.

    Raises:
        Unreadable: it is such an image.
    """
    if width * height > max_pixels:
        raise Unreadable(f"{width} x {height} pixels are more than `max_pixels` = {max_pixels}")
    if width * height == 0:
        raise Unreadable(f"{width} x {height} pixels")
    if max(width, height) > MOST_SIDE:  # which takes minutes to read, strip by strip
        raise Unreadable(f"{width} x {height} pixels are more than {MOST_SIDE:,} along a side")


def size_of(source: Path | BinaryIO) -> int:
    """Bytes of a file, which is then where it was."""
    if isinstance(source, Path):
        return source.stat().st_size
    place = source.tell()
    size = source.seek(0, io.SEEK_END)
    source.seek(place)
    return size


def check_dtype(dtype: np.dtype) -> None:
    """Refuses what is no real number.

    Raises:
        Unreadable: it is none.
    """
    if dtype.kind not in "fbiu":
        raise Unreadable(f"values of type {dtype}; whole numbers, floats and bool are known")


def _check_packed(part: Any, source: Path | BinaryIO) -> None:
    check_unpacked(math.prod(part.shape) * np.dtype(part.dtype).itemsize, size_of(source))


@contextmanager
def _tiff(source: Path | BinaryIO) -> Iterator[Any]:
    import tifffile

    with tifffile.TiffFile(source, offset=0) as tiff:
        yield tiff


def _is_plain(page: Any) -> bool:
    """Whether tifffile gives the values as they should be seen; bits below 8, palettes and the like are PIL's."""
    import tifffile

    plain = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
    return plain and page.bitspersample >= 8


def _pages(tiff: Any) -> list[Any]:
    return [page for page in tiff.pages if not (page.is_reduced or page.is_mask)]


def _chosen(tiff: Any, channels: int, frame: int | None) -> tuple[Any, int]:
    """A page or a series of pages that is one image, and how many pages are left out."""
    if frame is not None:
        return _pages(tiff)[frame], 0
    series = tiff.series[0]
    pages = 1 if len(tiff.pages) == 1 else len(_pages(tiff))
    bands = math.prod(series.shape) // max(math.prod(tiff.pages.first.shape), 1)  # pages of the series
    if pages > 1 and not (bands == pages and bands in (channels, 1, 3) and tiff.pages.first.samplesperpixel == 1):
        return tiff.pages.first, pages - 1
    return series, 0


def nodata_number(text: Any) -> float | None:
    """The number in GDAL's tag; None where there is none."""
    try:
        return None if text is None else float(str(text).strip("\0 "))
    except ValueError:
        return None


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """``[H, W, C]`` as an orientation tag, 1 to 8, says it is to be seen."""
    if orientation in (5, 6, 7, 8):  # rows are columns
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array[:, ::-1] if orientation in (2, 3, 6, 7) else array
