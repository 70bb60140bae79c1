"""Pages set by rule: words with boxes, and the pixels that they are drawn with, without a download."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask import seeds
from unmask.api import at_least
from unmask.data import MaskedDataModule, Splits

NAMES = ("anna", "bert", "cara", "dave", "emma", "finn")
CITIES = ("rome", "oslo", "lima", "bonn", "york", "nice")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun")
FIELDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("from", NAMES), ("to", NAMES), ("city", CITIES), ("date", MONTHS),
)  # fmt: skip
DIGITS = tuple("0123456789")
WORDS = ("sum", "paid", *(key for key, _ in FIELDS), *NAMES, *CITIES, *MONTHS, *DIGITS)
FIRST_ID = 5
"""Ids below are left to an encoder's own tokens: padding, unknown, class, separator, mask."""
IDS = {word: number for number, word in enumerate(WORDS, start=FIRST_ID)}
VOCAB_SIZE = FIRST_ID + len(WORDS)
SIDE = 64
"""Of a page, in pixels."""
LINE = 12
"""Height of a line in pixels; the font is 11 high."""


class Pages(MaskedDataModule):
    """Small receipts: ``from anna``, ``city rome``, ``sum 3 7``, ``paid 3 7``, one field a line, in any order.

    Batches hold ``image`` ``[B, 1, 64, 64]`` in [0, 1] (ink is 0), and of each word ``ids``, ``word``, ``valid``
    ``[B, N]`` and ``boxes`` ``[B, N, 4]``: left, top, right, bottom in thousandths of a side, int64 in [0, 1000].
    Two or three of the fields are drawn, then their lines are shuffled and moved. The sum is on two lines, so one tells
    the other. Pillow draws words in its own fixed-width font, each in its box. Every page depends on its number alone.

    Args:
        num_pages: for training, at least 1.
        num_val: further pages that are held out, at least 1.
        batch_size: pages per device and step.
        num_workers: loading processes; 0, because all is in memory.
        val_batch_size: pages per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a count below 1.
        ImportError: Pillow is not installed.
    """

    sample_name = "pages"

    def __init__(self, num_pages: int = 2000, num_val: int = 200, num_workers: int | None = 0, **shared: Any) -> None:
        super().__init__(num_workers=num_workers, **shared)
        at_least(1, num_pages=num_pages, num_val=num_val)
        self.num_pages, self.num_val = num_pages, num_val

    @property
    def classes(self) -> tuple[str, ...]:
        return (*CITIES, "none")

    def load(self) -> Splits:
        pages = [page(number) for number in range(self.num_val + self.num_pages)]
        return Splits(Drawn(pages[self.num_val :]), Drawn(pages[: self.num_val]))


class Drawn(Dataset):
    """Pages as samples, with words filled up to the longest of all."""

    def __init__(self, pages: list[dict[str, Any]]) -> None:
        self.pages = pages

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, index: int) -> dict[str, Any]:
        own = self.pages[index]
        filled = MOST_WORDS - len(own["ids"])
        return {
            "image": own["image"].float() / 255,
            "ids": torch.nn.functional.pad(own["ids"], (0, filled)),
            "boxes": torch.nn.functional.pad(own["boxes"], (0, 0, 0, filled)),
            "word": torch.arange(MOST_WORDS),
            "valid": torch.arange(MOST_WORDS) < len(own["ids"]),
            "label": own["label"],
        }


MOST_WORDS = 12
"""Of a page: three fields of two words, and the sum of three on two lines."""


def page(number: int) -> dict[str, Any]:
    """The page of this number: ``image`` ``[1, 64, 64]`` uint8, ``ids`` ``[N]``, ``boxes`` ``[N, 4]``, ``label``."""
    generator = np.random.default_rng(seeds.mix("pages", number) % 2**63)
    lines = [
        [FIELDS[field][0], str(generator.choice(FIELDS[field][1]))]
        for field in generator.permutation(len(FIELDS))[: generator.integers(2, 4)]
    ]
    total = [str(digit) for digit in generator.integers(0, 10, 2)]
    lines += [["sum", *total], ["paid", *total]]
    lines = [lines[place] for place in generator.permutation(len(lines))]
    words, corners = [], []
    for row, line in enumerate(lines):
        width = max(sum(6 * (len(word) + 1) for word in line) - 6, 1)
        left = int(generator.integers(0, SIDE - width + 1))
        for word in line:
            corners.append((left, LINE * row + 1, left + 6 * len(word), LINE * (row + 1)))
            words.append(word)
            left += 6 * (len(word) + 1)
    cities = [CITIES.index(word) for word in words if word in CITIES]
    return {
        "image": drawn(words, corners),
        "ids": torch.tensor([IDS[word] for word in words]),
        "boxes": thousandths(torch.tensor(corners)),
        "label": cities[0] if cities else len(CITIES),
    }


def drawn(words: list[str], corners: list[tuple[int, int, int, int]]) -> Tensor:
    """Black words on a white page, each from the left upper corner of its box: ``[1, 64, 64]`` uint8."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ImportError('Pages are drawn by Pillow: pip install "unmask-multimodal[pages]".') from error
    picture = Image.new("L", (SIDE, SIDE), 255)
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default_imagefont()
    for word, (left, top, *_) in zip(words, corners, strict=True):
        pen.text((left, top), word, fill=0, font=font)
    return torch.from_numpy(np.array(picture))[None]


def thousandths(corners: Tensor) -> Tensor:
    """Corners in pixels ``[N, 4]`` in thousandths of a side, rounded."""
    return (corners * 1000 / SIDE).round().long()
