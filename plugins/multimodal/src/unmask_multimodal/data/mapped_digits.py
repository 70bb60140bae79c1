"""Digits with two maps measured from them: edges, and how deep inside of the ink each pixel lies."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from unmask.api import inside
from unmask.data import MaskedDataModule, Splits

INK = 0.25
"""Pixels above it are ink."""
SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


class MappedDigits(MaskedDataModule):
    """scikit-learn's digits ``image`` ``[1, 8, 8]`` in [0, 1] with ``edges`` and ``distance`` of the same size.

    All three are aligned pixel by pixel, and follow from the image, so that a model may learn each from the others.
    The split is the same in every run.

    Args:
        num_val: digits held out, the same share of every class, in [10, 1787].
        batch_size: samples per device and step.
        num_workers: loading processes; 0, because all is in memory.
        val_batch_size: samples per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: ``num_val`` outside its range, or a count below 1.
    """

    sample_name = "images"

    def __init__(self, num_val: int = 500, num_workers: int | None = 0, **shared: Any) -> None:
        super().__init__(num_workers=num_workers, **shared)
        inside("[10, 1787]", num_val=num_val)
        self.num_val = num_val

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(map(str, range(10)))

    def load(self) -> Splits:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # [1797, 1, 8, 8]
        maps = {"image": images, "edges": edges(images), "distance": distance(images)}
        labels = torch.tensor(digits.target)
        parts = train_test_split(range(len(labels)), test_size=self.num_val, stratify=labels, random_state=0)
        train, val = (
            Maps({name: one[part] for name, one in maps.items()}, labels[part]) for part in map(torch.tensor, parts)
        )
        return Splits(train, val)


class Maps(Dataset):
    """Maps ``[B, 1, 8, 8]`` by name, and labels ``[B]``, as samples."""

    def __init__(self, maps: dict[str, Tensor], labels: Tensor) -> None:
        self.maps, self.labels = maps, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: one[index] for name, one in self.maps.items()} | {"label": int(self.labels[index])}


def edges(images: Tensor) -> Tensor:
    """How steep images ``[B, 1, H, W]`` in [0, 1] are by Sobel's two filters, in [0, 1]; beyond them is no ink."""
    across = torch.tensor(SOBEL)[None, None]
    steep = F.conv2d(images, torch.cat([across, across.mT]), padding=1)  # [B, 2, H, W]
    return steep.norm(dim=1, keepdim=True) / 4 / 2**0.5


def distance(images: Tensor) -> Tensor:
    """For pixels of ink how far the nearest one without is, in sides of the image ``[B, 1, H, W]``; 0 elsewhere."""
    height, width = images.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([rows, columns], dim=-1).flatten(0, 1).float()  # [P, 2]
    apart = torch.cdist(places, places) / max(height, width)
    ink = images.flatten(1) > INK  # [B, P]
    nearest = apart.masked_fill(ink[:, None, :], 1.0).amin(-1)  # all of ink: one side away
    return (nearest * ink).view_as(images)
