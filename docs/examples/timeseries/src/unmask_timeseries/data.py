"""Heartbeats on three leads, made when asked for: a stand-in for an ECG. Put your own series here."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset
from unmask import MaskedDataModule
from unmask.data import Splits

_WAVES = torch.tensor([
    # of a beat: where in it, how wide (shares of its length), and how high on each of the three leads
    [0.20, 0.030, 0.15, 0.10, 0.20],  # P
    [0.36, 0.010, -0.10, -0.15, 0.05],  # Q
    [0.40, 0.012, 1.00, 0.60, -0.50],  # R
    [0.44, 0.012, -0.25, -0.10, 0.40],  # S
    [0.70, 0.050, 0.30, 0.20, 0.15],  # T
])  # fmt: skip


class HeartbeatsData(MaskedDataModule):
    """``series`` ``[3, length]`` in millivolts, and ``label``: 1 where every third beat lacks its P and T waves.

    Args:
        num_samples: to train on; a quarter as many are made to validate on.
        length: time steps of a series.
        batch_size: series per step.
        num_workers: loading processes.

    Raises:
        ValueError: a length below 64 steps, too short for a beat.
    """

    def __init__(
        self, num_samples: int = 512, length: int = 256, batch_size: int = 64, num_workers: int | None = None
    ) -> None:
        super().__init__(batch_size, num_workers)
        if length < 64:
            raise ValueError(f"`length` must be at least 64 steps, but is {length}.")
        self.num_samples, self.length = num_samples, length

    def load(self) -> Splits:
        train, val = Heartbeats(self.num_samples, self.length, 0), Heartbeats(self.num_samples // 4, self.length, 1)
        return Splits(train, val)


class Heartbeats(Dataset):
    """Sample i is the same whenever it is asked for."""

    def __init__(self, num_samples: int, length: int, seed: int) -> None:
        self.num_samples, self.length, self.seed = num_samples, length, seed

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, i: int) -> dict[str, Tensor | int]:
        rng = torch.Generator().manual_seed(self.seed * 1_000_000 + i)
        label = i % 2
        beat_steps, start = 36 + 24 * torch.rand(1, generator=rng), 3 * torch.rand(1, generator=rng)
        beats = torch.arange(self.length) / beat_steps + start  # how many beats have passed
        at = beats.frac()[:, None]  # [L, 1]
        bumps = torch.exp(-0.5 * ((at - _WAVES[:, 0]) / _WAVES[:, 1]) ** 2)  # [L, 5]
        if label:
            bumps[(beats.long() % 3 == 0)[:, None] & torch.tensor([True, False, False, False, True])] = 0
        noise = 0.03 * torch.randn(3, self.length, generator=rng)
        return {"series": (bumps @ _WAVES[:, 2:]).T + noise, "label": label}
