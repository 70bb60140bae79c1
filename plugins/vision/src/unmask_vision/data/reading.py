"""Image files of any kind as tensors ``[C, H, W]``, uint8 or float32, with as many channels as asked for.

- Values: uint8 as it is; other whole numbers by the range of their type, such as uint16 / 65535; float as it is, by
  convention in [0, 1]; bool as 0 and 1. `unmask_vision.data.scale` says how else, and what stands for no data.
- Channels: grey becomes RGB by repeating, RGB becomes grey by ITU-R 601 weights; palette, CMYK and
  YCbCr become RGB; an alpha channel is composited on white unless as many channels are asked for
  (2 or 4), in which case images without one are opaque. Any other number must match.
- ``.npy``: ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``; the last axis is taken for the channels when
  its length is the number asked for, or 1 or 3 when the first axis does not fit.
- TIFF: channels in any order, or one page per channel. Compressions that tifffile and PIL read only in part ask for
  imagecodecs, which the extra ``tiff`` brings.
- Colour of 16 bits is read in full from PNG and TIFF; kinds of files that can be read at 8 bits
  only, such as 16-bit JPEG 2000, are read so and noted.
- Of several frames or pages the first is read, which is noted, or the one asked for. HEIC asks for pillow-heif, which
  the extra ``heif`` brings.
- Orientation tags of cameras are followed.

What a file is, its first bytes say, not its ending.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from unmask.data import Findings, Unreadable, check_unpacked
from unmask_vision.data.arrays import (
    NEEDS_CODECS,
    Bands,
    channels_last,
    check_pixels,
    num_pages,
    open_npy,
    read_tiff,
    size_of,
    tiff_header,
)
from unmask_vision.data.depth import (
    bits_of,
    bits_of_jpeg,
    check_bands,
    is_readable_in_full,
    nodata_of,
    read_in_full,
    whole_numbers,
)
from unmask_vision.data.pixels import BY_TYPE, Pixels, match
from unmask_vision.data.scale import Numbers

EXTENSIONS = (
    ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif", ".npy"
)  # fmt: skip
CUT = "are read at 8 of their {} bits"
"""What findings say of images of a kind that cannot be read in full."""
SEVERAL = "have several frames or pages, of which the first is read"
"""What findings say of animations and of files of several pages."""
NEEDS_HEIF = "HEIC needs the package pillow-heif: pip install 'unmask-vision[heif]'"

_NATURAL = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBA": "RGBA", "RGBa": "RGBA"}
_ORIENTATION = 0x0112
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
"""Brands of HEIC files, in bytes 8 to 12."""
_HEAD = 2**14
"""Bytes of a file in which its header is looked for."""
Source = Path | BinaryIO
"""A file: its path, or its content."""


class Frame(NamedTuple):
    """One of the images of a file.

    Args:
        path: of the file.
        number: of the frame or page, from 0.
    """

    path: Path
    number: int


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
    source: Source | Frame | Image.Image | Tensor | np.ndarray,
    channels: int = 3,
    max_pixels: int = 200_000_000,
    around: int | None = None,
    findings: Findings | None = None,
    name: str | None = None,
    numbers: Numbers = BY_TYPE,
) -> Tensor:
    """The image ``[channels, H, W]``.

    Args:
        source: the file, or an image that is opened already: PIL's, an array as of a ``.npy``, or a tensor
            ``[C, H, W]`` uint8 or in [0, 1].
        channels: number asked for.
        max_pixels: larger images are not decoded.
        around: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side stays at
            least this many pixels long; None: at full size.
        findings: is told of values that are not finite, and of bits that are lost.
        name: of the image, for ``findings``.
        numbers: how the file's numbers are read.

    Raises:
        Unreadable: the content is damaged, no image, too large, has other channels, no finite value or no data.
    """
    findings = Findings() if findings is None else findings
    pixels = Pixels(channels, findings, name, numbers)
    if isinstance(source, Tensor):
        plain = numbers == BY_TYPE
        return match(source, channels, alpha=False) if plain else pixels.of(source.permute(1, 2, 0).numpy())
    if isinstance(source, Image.Image):
        return from_pil(source, channels, findings, name, numbers)
    if isinstance(source, np.ndarray):
        return pixels.of(channels_last(source, channels, max_pixels))
    frame = source.number if isinstance(source, Frame) else None
    source = source.path if isinstance(source, Frame) else source
    with _plainly(source):
        head = _head(source)
        kind = _kind(head)
        codec = None
        if kind == "npy":
            return pixels.of(open_npy(source, channels, max_pixels))
        if kind == "tiff":
            bands = read_tiff(source, channels, max_pixels, frame)
            if isinstance(bands, Bands):
                findings.note(SEVERAL, name, int(bands.num_left > 0))
                return pixels.of(bands.array, bands.alpha, bands.nodata)
            codec = bands.codec
        with _open(source, codec) as image:
            if frame is not None:
                image.seek(frame)
            elif getattr(image, "is_animated", False):
                findings.note(SEVERAL, name)
            if around is not None:
                image.draft(None, (around, around))
            check_pixels(*image.size, max_pixels)
            _check_packed(image, source)
            check_bands(image)
            bits = bits_of(image, head)
            if bits > 8 and is_readable_in_full(image):
                return pixels.of(*read_in_full(image, source), nodata_of(image))
            _check_cut(image, bits)
            findings.note(CUT.format(bits), name, int(bits > 8))
            return from_pil(image, channels, findings, name, numbers)


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
        if kind == "tiff" and (header := tiff_header(source, channels, max_pixels)) is not None:
            if findings is not None:
                findings.note(SEVERAL, name, int(header.num_left > 0))
            return Header(*header.shape, header.dtype != np.uint8)
        with _open(source) as image:
            if image.format != "JPEG":
                check_pixels(*image.size, max_pixels)
                _check_packed(image, source)
            check_bands(image)
            bits = bits_of(image, head)
            whole = bits > 8 and is_readable_in_full(image)
            if not whole:
                _check_cut(image, bits)
            if findings is not None:
                findings.note(CUT.format(bits), name, int(bits > 8 and not whole))
                findings.note(SEVERAL, name, int(getattr(image, "is_animated", False)))
            return Header(image.height, image.width, whole or image.mode.startswith(("I", "F")))


def num_frames(source: Source) -> int:
    """Frames or pages of a file; 1 where it cannot be read.

    Args:
        source: the file.
    """
    try:
        with _plainly(source):
            kind = _kind(_head(source))
            if kind == "tiff":
                return num_pages(source)
            if kind == "npy":
                return 1
            with _open(source) as image:
                return getattr(image, "n_frames", 1)
    except (Unreadable, OSError):
        return 1


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
    image: Image.Image,
    channels: int = 3,
    findings: Findings | None = None,
    name: str | None = None,
    numbers: Numbers = BY_TYPE,
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
            kind = whole_numbers(image)
            if kind is np.uint16 and (values.min() < 0 or values.max() > 65535):
                raise Unreadable("whole numbers of 32 bits in a kind of file that is not read in full")
            values = values.astype(kind)
        return values[..., None] if values.ndim == 2 else values  # [rows, W, C]

    pixels = Pixels(channels, Findings() if findings is None else findings, name, numbers)
    return pixels.in_strips(strip, (image.height, image.width), mode in ("LA", "RGBA"), nodata_of(image))


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


def _check_packed(image: Image.Image, source: Source) -> None:
    """Refuses a small file that unpacks to hundreds of megabytes, as all packed files are."""
    check_unpacked(image.width * image.height * len(image.getbands()), size_of(source))


def _check_cut(image: Image.Image, bits: int) -> None:
    """A TIFF is read in full or not at all: imagecodecs can what PIL cannot."""
    if bits > 8 and image.format == "TIFF":
        raise Unreadable(f"a TIFF of {bits} bits that {NEEDS_CODECS}")


@contextmanager
def _open(source: Source, codec: str | None = None) -> Iterator[Image.Image]:
    """PIL's image; ``codec`` is a compression that it may not know."""
    # PIL's own limit warns of large photographs at half of ours; `max_pixels` stands in for it.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if _is_heic(source):
                _register_heif()
            with Image.open(source, formats=_formats()) as image:
                yield image
    except Unreadable:
        raise
    except Exception as error:  # whatever libtiff says
        if codec is None:
            raise
        raise Unreadable(f"a TIFF compressed by {codec}, which {NEEDS_CODECS}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _formats() -> list[str]:
    """What PIL may take a file for: not PostScript, which is a program, for which it would start Ghostscript."""
    Image.init()
    return [kind for kind in Image.ID if kind != "EPS"]


def _is_heic(source: Source) -> bool:
    head = _head(source)[:64]
    return head[4:8] == b"ftyp" and b"avif" not in head and head[8:12] in _HEIC


def _register_heif() -> None:
    """Lets PIL read HEIC."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise Unreadable(NEEDS_HEIF) from error
    register_heif_opener()
