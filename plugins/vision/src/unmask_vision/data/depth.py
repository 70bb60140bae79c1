"""How many bits the values of a file have, and colour of 16 bits in full, where PIL keeps the upper 8 alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torchvision.io import decode_image

from unmask.data import Unreadable
from unmask_vision.data.arrays import NEEDS_CODECS

_SAMPLES, _PLANES = 277, 284  # TIFF's tags: values per pixel, and 2 where each channel is stored by itself
_HIGH, _LOW = ("L", "B") if sys.byteorder == "little" else ("B", "L")
"""How PIL is to take two bytes that libtiff has put in the machine's order, so that it keeps the upper, the lower."""


def bits_of(image: Image.Image, head: bytes) -> int:
    """Bits per channel of a file that PIL has opened, not yet read, and would cut to 8; 8 where it cuts nothing.

    Args:
        image: what PIL has opened.
        head: the beginning of the file, some kilobytes.
    """
    tiles = getattr(image, "tile", None)
    if not tiles or image.mode.startswith(("I", "F")):
        return 8
    codec, *_, arguments = tiles[0]
    raw = arguments if isinstance(arguments, tuple) else (arguments,)
    if codec == "SGI16" or re.search(r";16[BLN]$", str(raw[0])):
        return 16
    if image.format == "PPM" and len(raw) > 1:
        return max(int(raw[1]).bit_length(), 8)
    if image.format == "JPEG2000" and (start := head.find(b"\xff\x4f\xff\x51")) >= 0:
        size = head[start + 4 :]  # the SIZ marker: bytes 36 and 37 are the number of components, then 3 bytes of each
        return max([8, *((depth & 0x7F) + 1 for depth in size[38 : 38 + 3 * int.from_bytes(size[36:38]) : 3])])
    if image.format in ("AVIF", "HEIF") and (start := head.find(b"pixi")) >= 0:
        return max([8, *head[start + 9 : start + 9 + head[start + 8]]])
    return 8


def bits_of_jpeg(head: bytes) -> int | None:
    """Bits per channel as a JPEG's frame header says; None where there is none."""
    found = re.search(rb"\xff[\xc0-\xc3]\0.(.)", head, re.DOTALL) if head.startswith(b"\xff\xd8") else None
    return found[1][0] if found else None


def check_bands(image: Image.Image) -> None:
    """Refuses a compressed TIFF of more channels than PIL takes from it.

    Raises:
        Unreadable: it is such a TIFF.
    """
    num_bands = int(image.tag_v2.get(_SAMPLES, 1)) if image.format == "TIFF" else 1  # type: ignore[attr-defined]
    if num_bands > len(image.getbands()):
        raise Unreadable(f"{num_bands} channels in a compression that {NEEDS_CODECS}")


def is_readable_in_full(image: Image.Image) -> bool:
    """Whether `read_in_full` reads this file of 16 bits."""
    if image.format != "TIFF":
        return image.format == "PNG"
    tiles, tags = image.tile, image.tag_v2  # type: ignore[attr-defined]
    raw = str(tiles[0][-1][0])
    return tags.get(_PLANES, 1) == 1 and len(tiles) == 1 and raw in ("RGB;16N", "RGBA;16N", "RGBa;16N")


def read_in_full(image: Image.Image, source: Path | BinaryIO) -> tuple[np.ndarray, bool]:
    """``[H, W, C]`` uint16 and whether the last channel is alpha."""
    if image.format == "PNG":
        data = source.read_bytes() if isinstance(source, Path) else _all(source)
        values = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), apply_exif_orientation=True)
        array = values.permute(1, 2, 0).numpy()  # [H, W, C]
        clear = image.info.get("transparency")  # the colour that stands for no colour
        if isinstance(clear, tuple):
            opaque = np.where((array == np.array(clear, array.dtype)).all(-1, keepdims=True), 0, 65535)
            array = np.concatenate([array, opaque.astype(array.dtype)], axis=-1)
        return array, array.shape[-1] in (2, 4)
    colour = "RGB" if image.mode == "RGB" else "RGBA"
    high, low = (_byte(source, f"{colour};16{which}") for which in (_HIGH, _LOW))
    return high.astype(np.uint16) << 8 | low, colour == "RGBA"


def _all(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _byte(source: Path | BinaryIO, raw: str) -> np.ndarray:
    """One of the two bytes of each value of a TIFF."""
    with Image.open(source) as image:
        (tile,) = image.tile
        assert isinstance(tile.args, tuple)
        image.tile = [tile._replace(args=(raw, *tile.args[1:]))]
        return np.array(image)
