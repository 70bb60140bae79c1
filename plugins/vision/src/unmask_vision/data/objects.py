"""Objects at known distances, drawn by rule: nothing to download."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from unmask.api import at_least
from unmask.data import MaskedDataModule, Sample, Splits


class DrawnObjectsData(MaskedDataModule):
    """Images ``[3, size, size]`` float32 in [0, 1] of one to three balls over ground that fades with distance.

    Samples have ``boxes`` ``[3, 4]`` float32, left, top, right and bottom in pixels, and ``distance`` ``[3]`` float32
    in [1, 4], all 0 where there are fewer balls. All balls are of one size, so that a far one is small and pale.
    ``label`` is the number of balls, from 0 for one.

    Args:
        num_images: to train on, at least 3.
        num_val: to validate on, at least 3.
        size: side in pixels, at least 16.
        seed: of the images.
        batch_size: training images per device and step.
        num_workers: loading processes; 0, because an image is drawn in no time.
        val_batch_size: images per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a number below its least.
    """

    sample_name = "images"

    def __init__(
        self,
        num_images: int = 2000,
        num_val: int = 500,
        size: int = 32,
        seed: int = 0,
        batch_size: int = 64,
        num_workers: int | None = 0,
        val_batch_size: int | None = None,
        drop_last: bool = True,
    ) -> None:
        at_least(3, num_images=num_images, num_val=num_val)
        at_least(16, size=size)
        super().__init__(
            batch_size=batch_size, num_workers=num_workers, val_batch_size=val_batch_size, drop_last=drop_last
        )
        self.num_images, self.size = num_images, size
        self.scenes = Scenes(num_images + num_val, size, seed)

    def load(self) -> Splits:
        parts = range(self.num_images), range(self.num_images, len(self.scenes))
        train, val = (Subset(self.scenes, part) for part in parts)
        return Splits(train, val, train, val)

    @property
    def classes(self) -> tuple[str, ...]:
        return "1", "2", "3"


class Scenes(Dataset):
    """Those images, each drawn when asked for."""

    def __init__(self, count: int, size: int, seed: int) -> None:
        self.count, self.size, self.seed = count, size, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"`index` must be below {self.count}, but is {index}.")
        rng = np.random.default_rng([self.seed, index])
        size, num_balls = self.size, index % 3 + 1
        y, x = np.mgrid[0:size, 0:size] + 0.5
        air = rng.uniform(0.6, 0.9, 3)
        image = np.broadcast_to(air, (size, size, 3)) * (0.5 + 0.5 * (1 - y / size))[..., None]
        boxes, distance = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)
        for number, far in enumerate(sorted(rng.uniform(1, 4, num_balls), reverse=True)):  # near ones over far ones
            radius = size * 0.22 / far
            left, top = rng.uniform(radius, size - radius, 2)
            fade = np.exp(-0.4 * (far - 1))
            colour = rng.uniform(0, 1, 3) * fade + air * (1 - fade)
            ball = (x - left) ** 2 + (y - top) ** 2 <= radius**2
            image = np.where(ball[..., None], colour, image)
            boxes[number] = left - radius, top - radius, left + radius, top + radius
            distance[number] = far
        image = (image + 0.02 * rng.standard_normal(image.shape)).clip(0, 1)
        return {
            "image": torch.from_numpy(image).float().permute(2, 0, 1).contiguous(),
            "boxes": torch.from_numpy(boxes),
            "distance": torch.from_numpy(distance),
            "label": num_balls - 1,
        }
