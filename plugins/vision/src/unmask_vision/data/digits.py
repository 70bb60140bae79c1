"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 pixels that need no download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask.api import inside
from unmask.data import MaskedDataModule, Splits
from unmask_vision.data.augment import augmentation
from unmask_vision.data.looks import Looks, told


class DigitsData(MaskedDataModule):
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

    sample_name: ClassVar[str] = "images"
    image_size: ClassVar[int] = 8
    channels: ClassVar[int] = 1
    classes: ClassVar[Sequence[str]] = tuple("0123456789")

    def __init__(
        self,
        num_val: int = 500,
        augment: Literal["none", "crop-flip"] | Callable[[dict[str, Any]], dict[str, Any]] = "none",
        num_workers: int | None = 0,
        **shared: Any,
    ) -> None:
        super().__init__(num_workers=num_workers, augment=augmentation(augment, None), **shared)
        inside("[10, 1787]", num_val=num_val)
        self.num_val = num_val

    def found(self) -> str:
        return told(super().found(), Looks(), self.classes)

    def load(self) -> Splits:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        train, val = train_test_split(
            range(len(digits.target)), test_size=self.num_val, stratify=digits.target, random_state=0
        )
        images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # [1797, 1, 8, 8]
        labels = torch.tensor(digits.target)
        return Splits(Images(images[train], labels[train]), Images(images[val], labels[val]))


class Images(Dataset):
    """Images and their labels in memory.

    Args:
        images: ``[N, C, H, W]``.
        labels: ``[N]`` int64.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.images[index], "label": int(self.labels[index])}
