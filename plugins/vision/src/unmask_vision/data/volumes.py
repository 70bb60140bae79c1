"""Solids as volumes: voxels of ten kinds of solids that are built by rule and need no download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy import maximum, minimum
from torch.utils.data import Dataset

from unmask.api import at_least, inside
from unmask.data import MaskedDataModule, Sample, Splits, held_out

SHARPNESS = 12.0
"""How quickly a solid ends, in shares of the volume's half side."""
NOISE = 0.05
"""Standard deviation of grey voxels."""


class SolidVolumesData(MaskedDataModule):
    """Volumes ``[C, side, side, side]`` float32 in [0, 1], one solid in each; ``label`` is its kind (`KINDS`).

    Solids are stretched along each axis, turned about the vertical and moved a little. They are synthetic: good for
    trying out, not for comparing methods.

    Args:
        num_solids: of all kinds together, at least 20.
        side: of the volumes in voxels, at least 4.
        values: ``grey``: how much of a voxel is filled, with noise, one channel; ``rgba``: a colour of its own for each
            solid, brighter upwards, and how opaque a voxel is: four channels, as a radiance field has them.
        seed: of shapes, colours and noise.
        val_ratio: share held out, in (0, 1); the same solids in every run.
        batch_size: volumes per device and step.
        num_workers: loading processes; 0, because volumes are quickly made.
        val_batch_size: volumes per validation step; None: ``batch_size``.

    Raises:
        ValueError: a value outside its range.
    """

    sample_name: ClassVar[str] = "volumes"
    item: ClassVar[str] = "volume"

    def __init__(
        self,
        num_solids: int = 1200,
        side: int = 16,
        values: Literal["grey", "rgba"] = "grey",
        seed: int = 0,
        val_ratio: float = 0.2,
        batch_size: int = 64,
        num_workers: int | None = 0,
        **shared: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, **shared)
        at_least(2 * len(KINDS), num_solids=num_solids)
        at_least(4, side=side)
        inside("(0, 1)", val_ratio=val_ratio)
        if values not in ("grey", "rgba"):
            raise ValueError(f"`values` must be 'grey' or 'rgba', but is {values!r}.")
        self.num_solids, self.side, self.values, self.val_ratio = num_solids, side, values, val_ratio
        self.solids_seed = seed

    @property
    def classes(self) -> list[str]:
        return list(KINDS)

    def load(self) -> Splits:
        parts = held_out(self.num_solids, self.val_ratio)
        train, val = (_Solids(own, self.side, self.values, self.solids_seed) for own in parts)
        return Splits(train, val)


class _Solids(Dataset):
    """Some of the solids, each made when it is asked for."""

    def __init__(self, numbers: list[int], side: int, values: str, seed: int) -> None:
        self.numbers, self.side, self.values, self.seed = numbers, side, values, seed

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sample:
        number = self.numbers[index]
        label = number % len(KINDS)
        rng = np.random.default_rng([self.seed, number])
        line = (np.arange(self.side) + 0.5) / self.side * 2 - 1
        z, y, x = np.meshgrid(line, line, line, indexing="ij")
        angle, (a, b, c), move = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.8, 3), rng.uniform(-0.15, 0.15, 3)
        x, y, z = x - move[0], y - move[1], z - move[2]
        x, z = np.cos(angle) * x + np.sin(angle) * z, -np.sin(angle) * x + np.cos(angle) * z
        outside = KINDS[list(KINDS)[label]](x / a, y / b, z / c)
        filled = 1 / (1 + np.exp(np.clip(SHARPNESS * outside, -60, 60)))
        if self.values == "grey":
            volume = np.clip(filled + NOISE * rng.standard_normal(filled.shape), 0, 1)[None]
        else:
            colour = rng.uniform(0.2, 1.0, 3)[:, None, None, None] * (0.7 - 0.3 * y)  # row 0 is at the top
            volume = np.concatenate([np.clip(colour, 0, 1) * (filled > 0.01), filled[None]])
        return {"volume": torch.from_numpy(volume.astype(np.float32)), "label": label}


Field = Callable[[Any, Any, Any], Any]
"""Below 0 within a solid that about fills [-1, 1] on each axis."""


def _box(x: Any, y: Any, z: Any, a: float = 0.9, b: float = 0.9, c: float = 0.9) -> Any:
    return maximum(maximum(abs(x) - a, abs(y) - b), abs(z) - c)


def _round(x: Any, z: Any) -> Any:
    return np.sqrt(x * x + z * z + 1e-9)


KINDS: dict[str, Field] = {
    "ellipsoid": lambda x, y, z: np.sqrt(x * x + y * y + z * z) - 1,
    "box": _box,
    "cylinder": lambda x, y, z: maximum(_round(x, z) - 0.9, abs(y) - 1),
    "cone": lambda x, y, z: maximum(_round(x, z) - (1 + y) / 2, y - 1),
    "torus": lambda x, y, z: np.sqrt((_round(x, z) - 0.7) ** 2 + y * y) - 0.35,
    "tube": lambda x, y, z: maximum(maximum(_round(x, z) - 1, 0.5 - _round(x, z)), abs(y) - 1),
    "pyramid": lambda x, y, z: maximum(maximum(abs(x), abs(z)) - (1 + y) / 2, y - 1),
    "prism": lambda x, y, z: maximum(maximum(abs(x) + 0.6 * z - 0.5, -z - 0.8), abs(y) - 1),
    "table": lambda x, y, z: minimum(
        _box(x, y + 0.7, z, 1, 0.3, 1), _box(abs(x) - 0.7, y, abs(z) - 0.7, 0.25, 1, 0.25)
    ),
    "cross": lambda x, y, z: minimum(_box(x, y, z, 1, 0.5, 0.35), _box(x, y, z, 0.35, 0.5, 1)),
}
"""Kinds of solids by name; the vertical points downwards."""
