"""Fashion-MNIST (Xiao et al. 2017) from the four ``*-ubyte.gz`` files of a folder, for the benchmarks on images."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from unmask import MaskedDataModule, seeds
from unmask.data import Splits

SIDE = 28
STORED = 20_000
"""Training images that kNN stores."""


class Images(Dataset):
    """Images ``[1, 28, 28]`` uint8 with labels."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"image": self.images[index], "label": int(self.labels[index])}


class FashionData(MaskedDataModule):
    """All 60,000 training images to pre-train on; of these ``stored`` to fit probes on, the 10,000 test images to score
    on, or as many of them.
    """

    def __init__(self, folder: str, batch_size: int = 128, stored: int = STORED, augment: Any = None) -> None:
        super().__init__(batch_size=batch_size, num_workers=0, val_batch_size=500, augment=augment)
        self.folder, self.stored = Path(folder), stored

    def load(self) -> Splits:
        train, test = (
            Images(*(self._read(f"{name}-{kind}") for kind in ("images-idx3", "labels-idx1")))
            for name in ("train", "t10k")
        )
        chosen = torch.randperm(len(train), generator=seeds.generator("cpu", "stored"))[: self.stored]
        scored = Images(test.images[: self.stored], test.labels[: self.stored])
        return Splits(train, test, Images(train.images[chosen], train.labels[chosen]), scored)

    def _read(self, name: str) -> torch.Tensor:
        with gzip.open(self.folder / f"{name}-ubyte.gz") as file:
            content = np.frombuffer(file.read(), np.uint8)
        array = content[16:].reshape(-1, 1, SIDE, SIDE) if "images" in name else content[8:]
        return torch.from_numpy(array.copy())


def pixel_values(images: torch.Tensor) -> torch.Tensor:
    """As ours sees them: mean 0.5, deviation 0.5."""
    return (images.float() / 255 - 0.5) / 0.5


def flat(dataset: Images) -> np.ndarray:
    return dataset.images.flatten(1).float().numpy() / 255
