"""Waves of four frequencies, made when asked for. Put your own samples here."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask import MaskedDataModule
from unmask.data import Splits


class TimeseriesData(MaskedDataModule):
    """Samples of 64 values and a label, which of four frequencies it is.

    Args:
        num_samples: to train on; a quarter as many are made to validate on.
        batch_size: samples per step.
        num_workers: loading processes.
    """

    def __init__(self, num_samples: int = 512, batch_size: int = 64, num_workers: int | None = None) -> None:
        super().__init__(batch_size, num_workers)
        self.num_samples = num_samples

    def load(self) -> Splits:
        return Splits(train=Waves(self.num_samples, seed=0), val=Waves(self.num_samples // 4, seed=1))


class Waves(Dataset):
    """Sample i is the same whenever it is asked for."""

    def __init__(self, num_samples: int, seed: int) -> None:
        self.num_samples, self.seed = num_samples, seed

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, i: int) -> dict[str, Tensor | int]:
        rng = torch.Generator().manual_seed(self.seed * 1_000_000 + i)
        label = i % 4
        turns = torch.linspace(0, label + 1, 64) + torch.rand(1, generator=rng)
        return {"signal": torch.sin(2 * math.pi * turns) + 0.1 * torch.randn(64, generator=rng), "label": label}
