"""Digits with captions measured from them: pairs of image and text that need no download."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask.api import inside
from unmask.data import MaskedDataModule, Splits

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
INK = ("faint", "light", "dark", "black")
SHAPES = ("narrow", "wide")
SIDES = ("left", "right")
ENDS = ("top", "bottom")
WORDS = ("a", ",", "heavier", "at", "the", "and", *INK, *SHAPES, *NUMBERS, *SIDES, *ENDS)
FIRST_ID = 5
"""Ids below are left to an encoder's own tokens: padding, unknown, class, separator, mask."""
IDS = {word: number for number, word in enumerate(WORDS, start=FIRST_ID)}
VOCAB_SIZE = FIRST_ID + len(WORDS)


class CaptionedDigits(MaskedDataModule):
    """scikit-learn's digits ``image`` ``[1, 8, 8]`` in [0, 1], and captions ``ids`` that hold more than the label.

    ``a dark narrow three , heavier at the left and the top``: the quarter of all digits by ink, whether the ink spreads
    more across than down, the label, and which halves have more ink. Batches hold ``ids``, ``word`` and ``valid``
    ``[B, N]``, as of `unmask-text`. The split is the same in every run.

    Args:
        num_val: digits held out, the same share of every class, in [10, 1787].
        batch_size: pairs per device and step.
        num_workers: loading processes; 0, because all is in memory.
        val_batch_size: pairs per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: ``num_val`` outside its range, or a count below 1.
    """

    sample_name = "pairs"

    def __init__(self, num_val: int = 500, num_workers: int | None = 0, **shared: Any) -> None:
        super().__init__(num_workers=num_workers, **shared)
        inside("[10, 1787]", num_val=num_val)
        self.num_val = num_val

    @property
    def classes(self) -> tuple[str, ...]:
        return NUMBERS

    def load(self) -> Splits:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # [1797, 1, 8, 8]
        labels = torch.tensor(digits.target)
        words = captions(images, labels)
        parts = train_test_split(range(len(labels)), test_size=self.num_val, stratify=labels, random_state=0)
        train, val = (Pairs(images[part], words[part], labels[part]) for part in map(torch.tensor, parts))
        return Splits(train, val)


class Pairs(Dataset):
    """Images ``[B, 1, 8, 8]``, captions ``[B, N]`` of one length, and labels ``[B]``, as samples."""

    def __init__(self, images: Tensor, ids: Tensor, labels: Tensor) -> None:
        self.images, self.ids, self.labels = images, ids, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids = self.ids[index]
        return {
            "image": self.images[index],
            "ids": ids,
            "word": torch.arange(len(ids)),
            "valid": torch.ones(len(ids), dtype=torch.bool),
            "label": int(self.labels[index]),
        }


def captions(images: Tensor, labels: Tensor) -> Tensor:
    """Ids of the captions of images ``[B, 1, 8, 8]`` with labels ``[B]``: ``[B, N]`` int64."""
    ink = images.flatten(1).sum(1)  # [B]
    quarter = torch.bucketize(ink, ink.quantile(torch.tensor([0.25, 0.5, 0.75])))
    at = torch.arange(images.shape[-1], dtype=torch.float32)
    across, down = images.sum((1, 2)), images.sum((1, 3))  # [B, 8] each
    wide = _spread(across, at) > _spread(down, at)
    half = len(at) // 2
    right = across[:, half:].sum(1) > across[:, :half].sum(1)
    bottom = down[:, half:].sum(1) > down[:, :half].sum(1)
    columns = [
        _ids(("a",)), _ids(INK)[quarter], _ids(SHAPES)[wide.long()], _ids(NUMBERS)[labels],
        *(_ids((word,)) for word in (",", "heavier", "at", "the")), _ids(SIDES)[right.long()],
        *(_ids((word,)) for word in ("and", "the")), _ids(ENDS)[bottom.long()],
    ]  # fmt: skip
    return torch.stack([column.expand(len(labels)) for column in columns], dim=1)


def _ids(words: tuple[str, ...]) -> Tensor:
    return torch.tensor([IDS[word] for word in words])


def _spread(ink: Tensor, at: Tensor) -> Tensor:
    """Variance of where ink ``[B, 8]`` lies along an axis."""
    share = ink / ink.sum(1, keepdim=True)
    mean = share @ at
    return share @ at.square() - mean.square()
