"""A sheet of pictures: columns under their titles, a row per sample, pictures of any sizes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 128
"""Least side of the largest picture in pixels; smaller ones are magnified, all by the same whole factor."""
GAP = 8
LINE = 18
"""Height of a line of text."""
FONT_SIZE = 13
GREY = (110, 110, 110)


class Strip(NamedTuple):
    """Pictures of one kind.

    Args:
        title: what they show.
        cells: a picture ``[height, width, 3]`` uint8 per sample.
        captions: a line above each picture; None: there are none.
    """

    title: str
    cells: list[np.ndarray]
    captions: list[str] | None = None


def sheet(columns: list[Strip], heading: str = "") -> np.ndarray:
    """Draw the columns side by side.

    Args:
        columns: all with as many cells.
        heading: a line above everything.

    Returns:
        ``[height, width, 3]`` uint8.
    """
    font = ImageFont.load_default(FONT_SIZE)
    factor = max(math.ceil(SIDE / max(max(cell.shape[:2]) for column in columns for cell in column.cells)), 1)
    lefts, width = _lefts(columns, factor, font)
    top = GAP + LINE * (2 if heading else 1)
    caption = LINE if any(column.captions for column in columns) else 0
    tops = []
    for cells in zip(*(column.cells for column in columns), strict=True):
        tops.append(top + caption)
        top += caption + max(cell.shape[0] for cell in cells) * factor + GAP

    width = max(width, math.ceil(font.getlength(heading)) + 2 * GAP)
    drawn = Image.new("RGB", (width, top), "white")
    pen = ImageDraw.Draw(drawn)
    pen.text((GAP, GAP // 2), heading, fill="black", font=font)
    for column, left in zip(columns, lefts, strict=True):
        pen.text((left, GAP // 2 + (LINE if heading else 0)), column.title, fill="black", font=font)
        for row, (cell, y) in enumerate(zip(column.cells, tops, strict=True)):
            magnified = np.repeat(np.repeat(cell, factor, axis=0), factor, axis=1)
            drawn.paste(Image.fromarray(magnified), (left, y))
            if column.captions:
                pen.text((left, y - LINE + 1), column.captions[row], fill=GREY, font=font)
    return np.asarray(drawn)


def _lefts(
    columns: list[Strip], factor: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> tuple[list[int], int]:
    """Where each column begins, and the width of all."""
    lefts, left = [], GAP
    for column in columns:
        lefts.append(left)
        text = max(math.ceil(font.getlength(line)) for line in (column.title, *(column.captions or ())))
        left += max(text, *(cell.shape[1] * factor for cell in column.cells)) + GAP
    return lefts, left
