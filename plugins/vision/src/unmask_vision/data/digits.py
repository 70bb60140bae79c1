"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 pixels that need no download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import getitem
from typing import Any, Literal

import torch

from unmask.api import inside
from unmask.data import Findings, Found, Item, Sample, Source
from unmask_vision.data.module import ImageData


class DigitsData(ImageData):
    """Images ``[1, 8, 8]`` float32 in [0, 1] with labels 0 to 9; the split is the same in every run.

    Args:
        batch_size: training images per device and step.
        num_val: images held out, the same share of every class, in [10, 1787].
        augment: ``none`` (a mirrored digit is no digit), ``crop-flip``, or a callable on samples.
        num_workers: loading processes; 0, because the images are in memory.
        val_batch_size: images per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: ``num_val`` outside its range, or a count below 1.
    """

    def __init__(
        self,
        num_val: int = 500,
        augment: Literal["none", "crop-flip"] | Callable[[Sample], Sample] = "none",
        num_workers: int | None = 0,
        **shared: Any,
    ) -> None:
        inside("[10, 1787]", num_val=num_val)
        super().__init__(
            source=Digits(num_val), image_size=8, channels=1, augment=augment, crop_scale=(0.2, 1.0), flip=True,
            val_ratio=0.05, num_workers=num_workers, **shared,
        )  # fmt: skip


@dataclass
class Digits(Source):
    """Those images in memory.

    Args:
        num_val: images to validate on, the same share of every class.
    """

    num_val: int = 500

    def read(self, findings: Findings) -> Found:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # [1797, 1, 8, 8]
        parts = train_test_split(
            range(len(digits.target)), test_size=self.num_val, stratify=digits.target, random_state=0
        )
        items = [
            [Item(f"digit {number}", partial(getitem, images, number), int(digits.target[number])) for number in part]
            for part in parts
        ]
        return Found.of(items, [str(name) for name in digits.target_names])
