"""Faces that are drawn by rule, with the map of their parts: nothing to download."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from unmask.api import at_least
from unmask.data import MaskedDataModule, Sample, Splits

BACKGROUND, SKIN, LEFT_BROW, RIGHT_BROW, LEFT_EYE, RIGHT_EYE, NOSE, UPPER_LIP, MOUTH, LOWER_LIP, HAIR = range(11)
"""Classes of a map, in the order of FSFM's (Wang et al. 2024)."""
MOODS = ("sad", "calm", "glad")


class DrawnFacesData(MaskedDataModule):
    """Faces ``[3, size, size]`` float32 in [0, 1] of random shapes and colours, the map of their parts ``regions``
    ``[size, size]`` int64 (`BACKGROUND` to `HAIR`), and as their ``label`` the mood that the mouth shows.

    They are drawings: good for trying out, not for comparing methods.

    Args:
        num_faces: to train on, at least 3.
        num_val: to validate on, at least 3.
        size: side in pixels, at least 16.
        seed: of the faces.
        batch_size: training images per device and step.
        num_workers: loading processes; 0, because a face is drawn in no time.
        val_batch_size: images per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a number below its least.
    """

    sample_name = "faces"

    def __init__(
        self,
        num_faces: int = 2000,
        num_val: int = 500,
        size: int = 32,
        seed: int = 0,
        batch_size: int = 64,
        num_workers: int | None = 0,
        val_batch_size: int | None = None,
        drop_last: bool = True,
    ) -> None:
        at_least(3, num_faces=num_faces, num_val=num_val)
        at_least(16, size=size)
        super().__init__(
            batch_size=batch_size, num_workers=num_workers, val_batch_size=val_batch_size, drop_last=drop_last
        )
        self.num_faces, self.size = num_faces, size
        self.faces = Faces(num_faces + num_val, size, seed)

    def load(self) -> Splits:
        parts = range(self.num_faces), range(self.num_faces, len(self.faces))
        train, val = (Subset(self.faces, part) for part in parts)
        return Splits(train, val, train, val)

    @property
    def classes(self) -> tuple[str, ...]:
        return MOODS


class Faces(Dataset):
    """Those faces, each drawn when asked for."""

    def __init__(self, count: int, size: int, seed: int) -> None:
        self.count, self.size, self.seed = count, size, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"`index` must be below {self.count}, but is {index}.")
        rng = np.random.default_rng([self.seed, index])
        mood = index % len(MOODS)
        parts = drawn(rng, self.size, mood - 1)
        return {"image": coloured(rng, parts), "regions": torch.from_numpy(parts), "label": mood}


def drawn(rng: np.random.Generator, size: int, curve: float) -> np.ndarray:
    """The map of the parts of one face ``[size, size]`` int64, later parts over earlier ones.

    Args:
        rng: of its shapes.
        size: side in pixels.
        curve: of the mouth: 1 turns its corners up, -1 down.
    """
    y, x = np.mgrid[0:size, 0:size] / (size - 1) * 2 - 1  # in [-1, 1], downwards and to the right
    x, y = x - rng.uniform(-0.1, 0.1), y - rng.uniform(-0.1, 0.1)
    wide, high = rng.uniform(0.55, 0.7), rng.uniform(0.7, 0.8)
    parts: np.ndarray[Any, Any] = np.full((size, size), BACKGROUND, dtype=np.int64)

    def ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
        return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1

    parts[ellipse((0, -0.15), (wide + 0.12, high))] = HAIR
    face = ellipse((0, 0.1), (wide, high))
    parts[face & (y > rng.uniform(-0.5, -0.3))] = SKIN
    apart, level = rng.uniform(0.24, 0.32), rng.uniform(-0.15, -0.05)
    for side, eye, brow in ((-1, LEFT_EYE, LEFT_BROW), (1, RIGHT_EYE, RIGHT_BROW)):
        parts[ellipse((side * apart, level), (0.13, 0.08))] = eye
        parts[ellipse((side * apart, level - rng.uniform(0.17, 0.22)), (0.17, 0.06))] = brow
    parts[ellipse((0, 0.15), (rng.uniform(0.08, 0.12), 0.17))] = NOSE
    half, thick = rng.uniform(0.24, 0.34), rng.uniform(0.06, 0.08)
    line = 0.52 - 0.16 * curve * ((x / half) ** 2 - 0.5)  # the middle of the mouth
    across = np.abs(x) <= half
    parts[across & (np.abs(y - line) <= 2 * thick) & (y < line)] = UPPER_LIP
    parts[across & (np.abs(y - line) <= 2 * thick) & (y >= line)] = LOWER_LIP
    parts[across & (np.abs(y - line) <= 0.7 * thick)] = MOUTH
    return parts


def coloured(rng: np.random.Generator, parts: np.ndarray) -> Tensor:
    """An image ``[3, H, W]`` float32 in [0, 1] of a map of parts, with a little noise."""
    skin = np.array([rng.uniform(0.5, 0.95), rng.uniform(0.35, 0.75), rng.uniform(0.25, 0.6)])
    hair, eye, back = rng.uniform(0, 0.6, 3), rng.uniform(0, 1, 3), rng.uniform(0, 1, 3)
    lip = np.array([rng.uniform(0.6, 0.9), 0.2, 0.3])
    colours = np.stack([back, skin, hair, hair, eye, eye, skin * 0.85, lip, lip * 0.3, lip, hair])  # [11, 3]
    image = colours[parts] + 0.03 * rng.standard_normal((*parts.shape, 3))
    return torch.from_numpy(image.clip(0, 1)).float().permute(2, 0, 1).contiguous()
