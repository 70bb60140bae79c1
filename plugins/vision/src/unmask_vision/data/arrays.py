"""Images in files of plain numbers, NumPy's and TIFF, of any number of channels: ``[H, W, C]`` arrays."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from unmask.data import Unreadable

_ORIENTATION = 0x0112


class TiffHeader(NamedTuple):
    """What the header of a TIFF says: height and width, and the type of its values."""

    shape: tuple[int, int]
    dtype: np.dtype


def open_npy(source: Path | BinaryIO, channels: int, max_pixels: int) -> np.ndarray:
    """``[H, W, C]``; that of a path is not yet in memory.

    Raises:
        Unreadable: axes or channels that do not fit, too many pixels, or values of an unknown type.
    """
    mapped = "r" if isinstance(source, Path) else None
    array = np.load(source, mmap_mode=mapped, allow_pickle=False)  # type: ignore[arg-type]
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
    _check_dtype(array.dtype)
    check_pixels(array.shape[1], array.shape[0], max_pixels)
    return array


def tiff_header(source: Path | BinaryIO, max_pixels: int) -> TiffHeader | None:
    """None for kinds that are left to PIL.

    Raises:
        Unreadable: too many pixels, or values of an unknown type.
    """
    import tifffile

    with tifffile.TiffFile(source, offset=0) as tiff:
        page, series = tiff.pages.first, tiff.series[0]
        plain = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
        if not plain or page.bitspersample < 8:
            return None
        check_pixels(page.imagewidth, page.imagelength, max_pixels)
        _check_dtype(series.dtype)
        return TiffHeader((page.imagelength, page.imagewidth), np.dtype(series.dtype))


def read_tiff(source: Path | BinaryIO, channels: int, max_pixels: int) -> tuple[np.ndarray, bool] | None:
    """``[H, W, C]`` and whether the last channel is alpha; None for kinds that are left to PIL.

    Raises:
        Unreadable: as `tiff_header`, or another number of channels.
    """
    import tifffile

    if tiff_header(source, max_pixels) is None:
        return None
    with tifffile.TiffFile(source, offset=0) as tiff:
        page, series = tiff.pages.first, tiff.series[0]
        if len(series.shape) > 2 and series.axes[-1] != "S" and series.shape[0] not in (channels, 1, 3):
            raise Unreadable(f"{series.shape[0]} channels instead of {channels}")
        try:
            array = np.squeeze(series.asarray()) if len(series.shape) > 3 else series.asarray()
        except (ValueError, ImportError) as error:
            if "imagecodecs" in str(error):  # a compression that PIL may know
                return None
            raise
        if array.ndim == 2:
            array = array[..., None]
        elif array.ndim != 3:
            raise Unreadable(f"a stack of shape {series.shape} instead of one image")
        elif series.axes[-1] != "S":
            array = np.moveaxis(array, 0, -1)
        alpha = any(int(kind) in (1, 2) for kind in page.extrasamples) and array.shape[-1] in (2, 4)
        turned = page.tags.get(_ORIENTATION)
        return _upright(array, 1 if turned is None else int(turned.value)), alpha


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuses images of more pixels than asked for, or of none.

    Raises:
        Unreadable: it is such an image.
    """
    if width * height > max_pixels:
        raise Unreadable(f"{width} x {height} pixels are more than `max_pixels` = {max_pixels}")
    if width * height == 0:
        raise Unreadable(f"{width} x {height} pixels")


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """``[H, W, C]`` as an orientation tag, 1 to 8, says it is to be seen."""
    if orientation in (5, 6, 7, 8):  # rows are columns
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array[:, ::-1] if orientation in (2, 3, 6, 7) else array


def _check_dtype(dtype: np.dtype) -> None:
    if dtype.kind not in "fb" and dtype not in (np.uint8, np.uint16):
        raise Unreadable(f"values of type {dtype}; uint8, uint16, floats and bool are known")
