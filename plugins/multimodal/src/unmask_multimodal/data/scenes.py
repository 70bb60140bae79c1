"""Scenes made by rule: things with features and boxes as a detector would find them, and a sentence about two."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask import seeds
from unmask.api import at_least
from unmask.data import MaskedDataModule, Splits

SHAPES = ("ball", "cube", "cone", "ring", "star", "tree", "fish", "bird")
COLOURS = ("red", "blue", "green", "grey", "pink", "gold")
RELATIONS = ("left", "right")
WORDS = ("the", "is", "of", *SHAPES, *COLOURS, *RELATIONS)
FIRST_ID = 5
"""Ids below are left to an encoder's own tokens: padding, unknown, class, separator, mask."""
IDS = {word: number for number, word in enumerate(WORDS, start=FIRST_ID)}
VOCAB_SIZE = FIRST_ID + len(WORDS)
MOST = 6
"""Things in a scene."""
FEATURES = 32
"""Numbers of a thing's features."""


class Scenes(MaskedDataModule):
    """Three to six things of 8 shapes and 6 colours, and words: ``the red ball is left of the blue cube``.

    Batches hold ``regions`` ``[B, 6, 32]``, ``region_boxes`` ``[B, 6, 4]`` in [0, 1], ``region_valid`` ``[B, 6]``,
    ``region_classes`` (shapes) and ``region_attributes`` (colours) ``[B, 6]``, ``region_confidence`` ``[B, 6]`` in
    [0.5, 1], ``region_scores`` ``[B, 6, 8]`` (the confidence at the shape, the rest spread evenly), ``ids``, ``word``
    and ``valid`` ``[B, 9]``, and ``answer`` ``[B]``: how many things there are less 3, and ``label`` likewise. Features
    are a vector of the shape and one of the colour, the same in all scenes, and noise.
    Shapes of a scene are all different, so the sentence tells which things it is about, and they tell the sentence but
    for whom it names. Every scene depends on its number alone.

    Args:
        num_scenes: for training, at least 1.
        num_val: further scenes that are held out, at least 1.
        noise: standard deviation of what is added to features of deviation 1, at least 0.
        batch_size: scenes per device and step.
        num_workers: loading processes; 0, because all is in memory.
        val_batch_size: scenes per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a number below its least.
    """

    sample_name = "scenes"

    def __init__(
        self,
        num_scenes: int = 4000,
        num_val: int = 400,
        noise: float = 0.3,
        num_workers: int | None = 0,
        **shared: Any,
    ) -> None:
        super().__init__(num_workers=num_workers, **shared)
        at_least(1, num_scenes=num_scenes, num_val=num_val)
        at_least(0, noise=noise)
        self.num_scenes, self.num_val, self.noise = num_scenes, num_val, noise

    @property
    def classes(self) -> tuple[str, ...]:
        return ("three", "four", "five", "six")

    def load(self) -> Splits:
        made = [scene(number, self.noise) for number in range(self.num_val + self.num_scenes)]
        return Splits(Made(made[self.num_val :]), Made(made[: self.num_val]))


class Made(Dataset):
    """Scenes as samples."""

    def __init__(self, scenes: list[dict[str, Any]]) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self.scenes[index])


def scene(number: int, noise: float = 0.3) -> dict[str, Any]:
    """The scene of this number."""
    generator = np.random.default_rng(seeds.mix("scenes", number) % 2**63)
    count = int(generator.integers(3, MOST + 1))
    shapes = generator.permutation(len(SHAPES))[:count]
    colours = generator.integers(0, len(COLOURS), count)
    sides = generator.uniform(0.1, 0.2, (count, 2))
    columns = (generator.permutation(MOST)[:count, None] + generator.uniform(0.1, 0.4, (count, 1))) / MOST
    left = np.concatenate([columns * 0.8, generator.uniform(0, 0.8, (count, 1))], axis=1)
    boxes = np.concatenate([left, left + sides], axis=1)
    features = SHAPE_CODES[shapes] + COLOUR_CODES[colours] + noise * generator.standard_normal((count, FEATURES))

    first, second = generator.permutation(count)[:2]
    relation = RELATIONS[int(boxes[first, 0] > boxes[second, 0])]
    words = ["the", COLOURS[colours[first]], SHAPES[shapes[first]], "is", relation, "of", "the"]
    words += [COLOURS[colours[second]], SHAPES[shapes[second]]]
    sure = generator.uniform(0.5, 1, count)
    scores = np.tile((1 - sure)[:, None] / (len(SHAPES) - 1), (1, len(SHAPES)))
    scores[np.arange(count), shapes] = sure
    return {
        "regions": _filled(features),
        "region_boxes": _filled(boxes),
        "region_valid": torch.arange(MOST) < count,
        "region_classes": _filled(shapes).long(),
        "region_attributes": _filled(colours).long(),
        "region_confidence": _filled(sure),
        "region_scores": _filled(scores),
        "ids": torch.tensor([IDS[word] for word in words]),
        "word": torch.arange(len(words)),
        "valid": torch.ones(len(words), dtype=torch.bool),
        "answer": count - 3,
        "label": count - 3,
    }


def _codes(name: str, count: int) -> np.ndarray:
    generator = np.random.default_rng(seeds.mix("scenes", name) % 2**63)
    return generator.standard_normal((count, FEATURES)) * 0.5**0.5


SHAPE_CODES, COLOUR_CODES = _codes("shapes", len(SHAPES)), _codes("colours", len(COLOURS))


def _filled(rows: np.ndarray) -> Tensor:
    """Rows of things ``[n, ...]``, filled up with zeros to the most."""
    found = torch.zeros(MOST, *rows.shape[1:])
    found[: len(rows)] = torch.from_numpy(rows.astype(np.float32))
    return found
