"""Classes of points as labels: the clouds of another data module, to be segmented."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import Dataset

from unmask.data import MaskedDataModule, Sample, Splits
from unmask_pointcloud.data.clouds import Fit
from unmask_pointcloud.data.module import PointCloudData, View


class PartLabels(MaskedDataModule):
    """The clouds of ``clouds`` with the classes of points, ``part`` ``[n]``, as their ``label``.

    All clouds to train on are labelled, and all to validate on. Augmentation moves points and labels together.

    Raises:
        ValueError: in `splits`, clouds whose points have no classes.
    """

    sample_name = "clouds"

    def __init__(self, clouds: PointCloudData) -> None:
        super().__init__(
            batch_size=clouds.batch_size,
            num_workers=clouds.num_workers,
            val_batch_size=clouds.val_batch_size,
            augment=None,
            drop_last=clouds.drop_last,
        )
        self.clouds = clouds

    def load(self) -> Splits:
        train, val = self.clouds.splits.train, self.clouds.splits.val
        assert isinstance(train, View)
        assert isinstance(val, View)
        if train.clouds.parts is None or val.clouds.parts is None:
            raise ValueError(
                f"Segmentation needs classes of points (`part`), but the {self.clouds.sample_name} have none."
            )
        self.augment = None if self.clouds.augment is None else _Renamed(self.clouds.augment)
        padded = self.clouds.report.padded
        same = Fit(self.clouds.num_points, padded, drawn=False)
        views = [Labelled(View(one.clouds, one.chosen, False, same)) for one in (train, val)]
        return Splits(*views, *views)


class Labelled(Dataset):
    """Samples with ``part`` under the name ``label``."""

    def __init__(self, view: View) -> None:
        self.view = view

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return _renamed(self.view[index], "part", "label")


class _Renamed:
    """An augmentation that knows ``part``, on samples that have it under ``label``."""

    def __init__(self, augment: Callable[[Sample], Sample]) -> None:
        self.augment = augment

    def __call__(self, sample: Sample) -> Sample:
        return _renamed(self.augment(_renamed(sample, "label", "part")), "part", "label")


def _renamed(sample: Sample, old: str, new: str) -> Sample:
    return {new if name == old else name: value for name, value in sample.items()}
