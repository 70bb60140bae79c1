"""Image files of any kind as tensors ``[C, H, W]``, uint8 or float32, with as many channels as asked for.

- Values: uint8 as it is; uint16 / 65535; float as it is, by convention in [0, 1]; bool as 0 and 1.
- Channels: grey becomes RGB by repeating, RGB becomes grey by ITU-R 601 weights; palette, CMYK and
  YCbCr become RGB; an alpha channel is composited on white unless as many channels are asked for
  (2 or 4), in which case images without one are opaque. Any other number must match.
- ``.npy``: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``; the last axis is taken for the channels when
  its length is the number asked for, or 1 or 3 when the first axis does not fit.
- TIFF: channels in any order, or one page per channel. 16-bit colour PNG keep their upper 8 bits.
- Orientation tags of cameras are followed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".npy")

_LUMA = (0.299, 0.587, 0.114)
_NATURAL = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBA": "RGBA", "RGBa": "RGBA"}


class Unreadable(ValueError):  # noqa: N818 (says what the file is)
    """This file is no image that can be used; the message says why, without the file's name."""


def read_image(path: Path, channels: int = 3, max_pixels: int = 200_000_000, around: int | None = None) -> Tensor:
    """The image ``[channels, H, W]``.

    Args:
        path: the file.
        channels: number asked for.
        max_pixels: larger images are not decoded.
        around: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side stays at
            least this many pixels long; None: at full size.

    Raises:
        Unreadable: the content is damaged, no image, too large, or has other channels.
    """
    with _plainly():
        if path.suffix.lower() == ".npy":
            array, alpha = _open_npy(path, channels, max_pixels), False
            return _match(_to_tensor(np.array(array)), channels, alpha)
        if path.suffix.lower() in (".tif", ".tiff"):
            bands = _read_tiff(path, channels, max_pixels)
            if bands is not None:
                return _match(_to_tensor(bands[0]), channels, bands[1])
        with _open(path) as image:
            if around is not None:
                image.draft(None, (around, around))
            _check_pixels(*image.size, max_pixels)
            return from_pil(image, channels)


def check_image(path: Path, channels: int = 3, max_pixels: int = 200_000_000) -> bool:
    """Looks at the header only; says whether the values are finer than 8 bits.

    Raises:
        Unreadable: the header alone shows that `read_image` would fail.
    """
    with _plainly():
        if path.suffix.lower() == ".npy":
            return _open_npy(path, channels, max_pixels).dtype != np.uint8
        if path.suffix.lower() in (".tif", ".tiff"):
            bands = _tiff_header(path, max_pixels)
            if bands is not None:
                return bands != np.uint8
        with _open(path) as image:
            if image.format != "JPEG":
                _check_pixels(*image.size, max_pixels)
            return image.mode.startswith(("I", "F"))


def from_pil(image: Image.Image, channels: int = 3) -> Tensor:
    """A PIL image as ``[channels, H, W]``, by the rules above.

    Raises:
        Unreadable: it has other channels.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # "I" holds 16-bit files in 32 bits
        values = np.array(image)
        if values.min() < 0 or values.max() > 65535:
            raise Unreadable("32-bit integers; 8 bits, 16 bits and floats are known")
        return _match(_to_tensor(values.astype(np.uint16)[..., None]), channels, False)
    if image.mode == "F":
        return _match(_to_tensor(np.array(image)[..., None]), channels, False)
    has_alpha = "transparency" in image.info and image.mode in ("P", "L", "RGB")
    mode = "RGBA" if has_alpha or image.mode == "PA" else _NATURAL.get(image.mode, "RGB")
    array = np.array(image.convert(mode))
    array = array[..., None] if array.ndim == 2 else array  # [H, W, C]
    return _match(_to_tensor(array), channels, mode in ("LA", "RGBA"))


def to_float(image: Tensor) -> Tensor:
    """float32 in [0, 1], or float as it is."""
    return image.float() / 255 if image.dtype == torch.uint8 else image


def to_uint8(image: Tensor) -> Tensor:
    """uint8, from uint8 or from float in [0, 1]."""
    return image if image.dtype == torch.uint8 else (image.clamp(0, 1) * 255).round().to(torch.uint8)


@contextmanager
def _plainly() -> Iterator[None]:
    """Whatever a decoder raises on damaged bytes becomes `Unreadable`; a missing file stays what it is."""
    try:
        yield
    except (Unreadable, FileNotFoundError, PermissionError):
        raise
    except MemoryError:
        raise Unreadable("too large for the memory") from None
    except Exception as error:  # decoders raise nearly anything, struct.error and TypeError included
        reason = "no image" if isinstance(error, Image.UnidentifiedImageError) else str(error).split("\n")[0]
        raise Unreadable(reason or type(error).__name__) from error


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    # PIL's own limit warns of large photographs at half of ours; `max_pixels` stands in for it.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _open_npy(path: Path, channels: int, max_pixels: int) -> np.ndarray:
    """``[H, W, C]``, not yet in memory."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
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
    _check_pixels(array.shape[1], array.shape[0], max_pixels)
    return array


def _tiff_header(path: Path, max_pixels: int) -> np.dtype | None:
    """The type of values; None for kinds that are left to PIL."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page, series = tiff.pages.first, tiff.series[0]
        plain = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
        if not plain or page.bitspersample < 8:
            return None
        _check_pixels(page.imagewidth, page.imagelength, max_pixels)
        _check_dtype(series.dtype)
        return np.dtype(series.dtype)


def _read_tiff(path: Path, channels: int, max_pixels: int) -> tuple[np.ndarray, bool] | None:
    """``[H, W, C]`` and whether the last channel is alpha; None for kinds that are left to PIL."""
    import tifffile

    if _tiff_header(path, max_pixels) is None:
        return None
    with tifffile.TiffFile(path) as tiff:
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
        return array, alpha


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise Unreadable(f"{width} x {height} pixels are more than `max_pixels` = {max_pixels}")
    if width * height == 0:
        raise Unreadable(f"{width} x {height} pixels")


def _check_dtype(dtype: np.dtype) -> None:
    if dtype.kind not in "fb" and dtype not in (np.uint8, np.uint16):
        raise Unreadable(f"values of type {dtype}; uint8, uint16, floats and bool are known")


def _to_tensor(array: np.ndarray) -> Tensor:
    """``[H, W, C]`` to ``[C, H, W]`` uint8 or float32."""
    array = np.ascontiguousarray(np.moveaxis(array, -1, 0))
    if array.dtype == np.uint8:
        return torch.from_numpy(array)
    scale = 65535 if array.dtype == np.uint16 else 1
    return torch.from_numpy(array.astype(np.float32)).div_(scale)


def _match(image: Tensor, channels: int, alpha: bool) -> Tensor:
    """``image`` ``[C, H, W]`` with ``channels`` channels; ``alpha``: the last of its own is one."""
    if len(image) == channels:
        return image
    found, opaque = len(image), 255 if image.dtype == torch.uint8 else 1
    if alpha:
        share = to_float(image[-1:])
        colour = image[:-1].float() * share + opaque * (1 - share)
        image = colour if image.is_floating_point() else colour.round().to(torch.uint8)
    if len(image) == 1 and channels in (3, 4):
        image = image.expand(3, -1, -1)
    elif len(image) == 3 and channels in (1, 2):
        grey = (image.float() * torch.tensor(_LUMA)[:, None, None]).sum(0, keepdim=True)
        image = grey if image.is_floating_point() else grey.round().to(torch.uint8)
    if channels in (2, 4) and len(image) == channels - 1:
        image = torch.cat([image, torch.full_like(image[:1], opaque)])
    if len(image) != channels:
        raise Unreadable(f"{found} channels instead of {channels}")
    return image.contiguous()
