"""Augmentations of waves, as in Audio-MAE's released code; each draws from torch's keyed global generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from unmask.api import nearest, quoted

Sample = dict[str, Any]
Augment = Callable[[Sample], Sample]
Name = Literal["roll", "gain"]


class Roll:
    """Turns a wave around in time by an even share of its length: what leaves at its end comes in at its beginning."""

    def __call__(self, sample: Sample) -> Sample:
        length = int(sample.get("length", len(sample["wave"])))
        shift = int(torch.randint(length, ()))
        wave = sample["wave"].clone()
        wave[:length] = wave[:length].roll(shift)
        return sample | {"wave": wave}


class Gain:
    """Makes a wave louder or quieter.

    Args:
        decibels: least and greatest change. Audio-MAE's code draws a factor near 1, hardly ever beyond 0.7 to 1.3.
    """

    def __init__(self, decibels: tuple[float, float] = (-6.0, 6.0)) -> None:
        if not decibels[0] <= decibels[1]:
            raise ValueError(f"`decibels` must be two numbers, the least first, but is {list(decibels)}.")
        self.decibels = decibels

    def __call__(self, sample: Sample) -> Sample:
        least, greatest = self.decibels
        change = least + (greatest - least) * float(torch.rand(()))
        return sample | {"wave": sample["wave"] * 10 ** (change / 20)}


AUGMENT: dict[str, Callable[[], Augment]] = {"roll": Roll, "gain": Gain}


def augmentation(augment: Sequence[str] | Augment) -> list[Augment]:
    """The augmentations that ``augment`` names, in its order, or itself.

    Raises:
        ValueError: an unknown name.
    """
    if callable(augment):
        return [augment]
    for name in augment:
        if name not in AUGMENT:
            near = quoted(nearest(name, AUGMENT) or AUGMENT)
            raise ValueError(f"`augment` must be among {quoted(AUGMENT)}, but has {name!r}; nearest: {near}.")
    return [AUGMENT[name]() for name in augment]
