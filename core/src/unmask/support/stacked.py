"""Pictures of several kinds of the same samples, one below the other under their names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

SIDE = 128
"""Least side of the largest picture of a kind in pixels: smaller kinds are magnified, each by a whole factor."""
LINE, GAP, FONT_SIZE = 16, 4, 11


def stacked(pictures: Mapping[str, Sequence[np.ndarray]]) -> list[np.ndarray]:
    """One picture per sample.

    Args:
        pictures: of each kind, one ``[height, width, 3]`` uint8 per sample.

    Returns:
        Pictures ``[height, width, 3]`` uint8.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_SIZE)
    large = {name: _magnified(cells) for name, cells in pictures.items()}
    made = []
    for cells in zip(*large.values(), strict=True):
        width = max(max(cell.shape[1] for cell in cells), *(math.ceil(font.getlength(name)) for name in large))
        drawn = Image.new("RGB", (width, sum(cell.shape[0] + LINE + GAP for cell in cells) - GAP), "white")
        pen, top = ImageDraw.Draw(drawn), 0
        for name, cell in zip(large, cells, strict=True):
            pen.text((0, top), name, fill="black", font=font)
            drawn.paste(Image.fromarray(np.ascontiguousarray(cell)), (0, top + LINE))
            top += LINE + cell.shape[0] + GAP
        made.append(np.asarray(drawn))
    return made


def _magnified(cells: Sequence[np.ndarray]) -> list[np.ndarray]:
    factor = max(math.ceil(SIDE / max(max(cell.shape[:2]) for cell in cells)), 1)
    return [cell.repeat(factor, axis=0).repeat(factor, axis=1) for cell in cells]
