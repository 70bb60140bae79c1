"""Image files of any kind as tensors ``[C, H, W]``, uint8 or float32, with as many channels as asked for.

- Values: uint8 as it is; uint16 / 65535; float as it is, by convention in [0, 1]; bool as 0 and 1.
  Floats that are not finite become 0.
- Channels: grey becomes RGB by repeating, RGB becomes grey by ITU-R 601 weights; palette, CMYK and
  YCbCr become RGB; an alpha channel is composited on white unless as many channels are asked for
  (2 or 4), in which case images without one are opaque. Any other number must match.
- ``.npy``: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``; the last axis is taken for the channels when
  its length is the number asked for, or 1 or 3 when the first axis does not fit.
- TIFF: channels in any order, or one page per channel.
- Colour of 16 bits is read in full from PNG and TIFF; kinds of files that can be read at 8 bits
  only, such as 16-bit JPEG 2000, are read so and noted.
- Orientation tags of cameras are followed.

What a file is, its first bytes say, not its ending.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from unmask.data import FILLED, Findings, Unreadable, fill_not_finite
from unmask_vision.data.arrays import check_pixels, open_npy, read_tiff, tiff_header
from unmask_vision.data.depth import bits_of, bits_of_jpeg, check_bands, is_readable_in_full, read_in_full

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".npy")
CUT = "are read at 8 of their {} bits"
"""What findings say of images of a kind that cannot be read in full."""

_LUMA = (0.299, 0.587, 0.114)
_NATURAL = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBA": "RGBA", "RGBa": "RGBA"}
_ORIENTATION = 0x0112
_HEAD = 2**14
"""Bytes of a file in which its header is looked for."""
_STRIP_PIXELS = 2**22
"""Larger images become tensors by strips of rows, which keeps floats of the whole out of memory."""

Source = Path | BinaryIO
"""A file: its path, or its content."""


class Header(NamedTuple):
    """What the header of an image says.

    Args:
        height: in pixels, before it is turned as an orientation tag says.
        width: likewise.
        fine: whether its values are finer than 8 bits when read.
    """

    height: int
    width: int
    fine: bool


def read_image(
    source: Source | Image.Image | Tensor,
    channels: int = 3,
    max_pixels: int = 200_000_000,
    around: int | None = None,
    findings: Findings | None = None,
    name: str | None = None,
) -> Tensor:
    """The image ``[channels, H, W]``.

    Args:
        source: the file, or an image that is opened already: PIL's, or a tensor ``[C, H, W]``.
        channels: number asked for.
        max_pixels: larger images are not decoded.
        around: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side stays at
            least this many pixels long; None: at full size.
        findings: is told of values that are not finite, and of bits that are lost.
        name: of the image, for ``findings``.

    Raises:
        Unreadable: the content is damaged, no image, too large, has other channels, or no finite value.
    """
    findings = Findings() if findings is None else findings
    if isinstance(source, Tensor):
        return _match(source, channels, alpha=False)
    if isinstance(source, Image.Image):
        return from_pil(source, channels, findings, name)
    with _plainly(source):
        head = _head(source)
        kind = _kind(head)
        if kind == "npy":
            array = open_npy(source, channels, max_pixels)
            return _in_strips(lambda rows: array[rows], array.shape[:2], channels, False, findings, name)
        if kind == "tiff" and (bands := read_tiff(source, channels, max_pixels)) is not None:
            array, alpha = bands
            return _in_strips(lambda rows: array[rows], array.shape[:2], channels, alpha, findings, name)
        with _open(source) as image:
            if around is not None:
                image.draft(None, (around, around))
            check_pixels(*image.size, max_pixels)
            check_bands(image)
            bits = bits_of(image, head)
            if bits > 8 and is_readable_in_full(image):
                array, alpha = read_in_full(image, source)
                return _in_strips(lambda rows: array[rows], array.shape[:2], channels, alpha, findings, name)
            findings.note(CUT.format(bits), name, int(bits > 8))
            return from_pil(image, channels, findings, name)


def check_image(
    source: Source,
    channels: int = 3,
    max_pixels: int = 200_000_000,
    findings: Findings | None = None,
    name: str | None = None,
) -> Header:
    """Looks at the header only; ``findings`` is told of bits that would be lost.

    Raises:
        Unreadable: the header alone shows that `read_image` would fail.
    """
    with _plainly(source):
        head = _head(source)
        kind = _kind(head)
        if kind == "npy":
            array = open_npy(source, channels, max_pixels)
            return Header(array.shape[0], array.shape[1], array.dtype != np.uint8)
        if kind == "tiff" and (header := tiff_header(source, max_pixels)) is not None:
            return Header(*header.shape, header.dtype != np.uint8)
        with _open(source) as image:
            if image.format != "JPEG":
                check_pixels(*image.size, max_pixels)
            check_bands(image)
            bits = bits_of(image, head)
            whole = bits > 8 and is_readable_in_full(image)
            if findings is not None:
                findings.note(CUT.format(bits), name, int(bits > 8 and not whole))
            return Header(image.height, image.width, whole or image.mode.startswith(("I", "F")))


def num_channels(image: Any) -> int:
    """Of an image that is opened already; those of files are not told by their headers alone.

    Raises:
        ValueError: it is a file.
    """
    if isinstance(image, Tensor):
        return len(image)
    if isinstance(image, Image.Image):
        return {"1": 1, "L": 1, "LA": 2, "RGBA": 4}.get(image.mode, 3)
    raise ValueError("`channels` must be a number where images are files, but is None.")


def from_pil(
    image: Image.Image, channels: int = 3, findings: Findings | None = None, name: str | None = None
) -> Tensor:
    """A PIL image as ``[channels, H, W]``, by the rules above.

    Raises:
        Unreadable: it has other channels, or no finite value.
    """
    image.load()  # TIFF are turned by this
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    has_alpha = "transparency" in image.info and image.mode in ("P", "L", "RGB")
    mode = "RGBA" if has_alpha or image.mode == "PA" else _NATURAL.get(image.mode, "RGB")
    mode = image.mode if image.mode.startswith(("I", "F")) else mode

    def strip(rows: slice) -> np.ndarray:
        part = image
        if (rows.start, rows.stop) != (0, image.height):
            part = image.crop((0, rows.start, image.width, rows.stop))
        values = np.array(part if part.mode == mode else part.convert(mode))
        if mode.startswith("I"):  # "I" holds 16-bit files in 32 bits
            if values.min() < 0 or values.max() > 65535:
                raise Unreadable("32-bit integers; 8 bits, 16 bits and floats are known")
            values = values.astype(np.uint16)
        return values[..., None] if values.ndim == 2 else values  # [rows, W, C]

    findings = Findings() if findings is None else findings
    return _in_strips(strip, (image.height, image.width), channels, mode in ("LA", "RGBA"), findings, name)


def to_float(image: Tensor) -> Tensor:
    """float32 in [0, 1], or float as it is."""
    return image.float() / 255 if image.dtype == torch.uint8 else image


def to_uint8(image: Tensor) -> Tensor:
    """uint8, from uint8 or from float in [0, 1]."""
    return image if image.dtype == torch.uint8 else (image.clamp(0, 1) * 255).round().to(torch.uint8)


@contextmanager
def _plainly(source: Source) -> Iterator[None]:
    """Whatever a decoder raises on damaged bytes becomes `Unreadable`; a missing file stays what it is."""
    try:
        yield
    except (Unreadable, FileNotFoundError, PermissionError):
        raise
    except MemoryError:
        raise Unreadable("too large for the memory") from None
    except Image.UnidentifiedImageError as error:
        bits = bits_of_jpeg(_head(source))
        raise Unreadable("no image" if bits in (None, 8) else f"a JPEG of {bits} bits; 8 are known") from error
    except Exception as error:  # decoders raise nearly anything, struct.error and TypeError included
        raise Unreadable(str(error).split("\n")[0] or type(error).__name__) from error


def _head(source: Source) -> bytes:
    """The beginning of a file, which is then at its beginning again."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(_HEAD)
    source.seek(0)
    head = source.read(_HEAD)
    source.seek(0)
    return head


def _kind(head: bytes) -> str:
    """``npy``, ``tiff``, or ``other`` for what PIL may know."""
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    return "tiff" if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") else "other"


@contextmanager
def _open(source: Source) -> Iterator[Image.Image]:
    # PIL's own limit warns of large photographs at half of ours; `max_pixels` stands in for it.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source) as image:
                yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _in_strips(
    strip: Callable[[slice], np.ndarray],
    size: tuple[int, ...],
    channels: int,
    alpha: bool,
    findings: Findings,
    name: str | None,
) -> Tensor:
    """``[channels, H, W]`` from strips of rows ``[rows, W, C]``; ``alpha``: their last channel is one."""
    height, width = size
    step = max(_STRIP_PIXELS // width, 1)
    whole: Tensor | None = None
    num_filled = num_values = 0
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        values, filled = fill_not_finite(strip(rows))
        num_filled, num_values = num_filled + filled, num_values + values.size
        part = _match(_to_tensor(values), channels, alpha)
        if step >= height:
            whole = part
        else:
            whole = part.new_empty(channels, height, width) if whole is None else whole
            whole[:, rows] = part
    assert whole is not None
    if num_filled == num_values:
        raise Unreadable("none of its values is finite")
    findings.note(FILLED, name, int(num_filled > 0))
    return whole


def _to_tensor(array: np.ndarray) -> Tensor:
    """``[H, W, C]`` to ``[C, H, W]`` uint8 or float32."""
    array = np.require(np.moveaxis(array, -1, 0), requirements=["C", "W"])
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
