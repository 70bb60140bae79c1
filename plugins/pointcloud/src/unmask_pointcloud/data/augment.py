"""Augmentations of point clouds, as in PointNet++ and Point-MAE; each draws from torch's keyed global generator.

A sample's ``points`` are ``[N, 3 + C]``. Where normals are among the channels, they turn with the cloud.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor

from unmask.api import at_least, inside, nearest, quoted

Sample = dict[str, Any]
Augment = Callable[[Sample], Sample]


class Rotate:
    """Turns a cloud about an axis by an even angle (Point-MAE on scans), or in all ways evenly.

    Args:
        axis: ``x``, ``y`` or ``z``; None: a rotation drawn evenly from all.
        normals: column of the first of three that are normals; None: there are none.
    """

    def __init__(self, axis: str | None = "y", normals: int | None = None) -> None:
        if axis not in ("x", "y", "z", None):
            raise ValueError(f"`axis` must be 'x', 'y', 'z' or None, but is {axis!r}.")
        self.axis = axis
        self.normals = normals

    def __call__(self, sample: Sample) -> Sample:
        rotation = _about(self.axis) if self.axis else _any_rotation()  # [3, 3]
        return _placed(sample, self.normals, lambda places: places @ rotation.T, lambda normals: normals @ rotation.T)


class ScaleTranslate:
    """Stretches each axis apart, then shifts (Point-MAE and Point-BERT, on objects in the unit sphere).

    Args:
        scale: least and greatest factor, greater than 0.
        shift: the greatest shift along each axis, in the cloud's unit.
        normals: column of the first of three that are normals; None: there are none.
    """

    def __init__(
        self, scale: tuple[float, float] = (2 / 3, 3 / 2), shift: float = 0.2, normals: int | None = None
    ) -> None:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"`scale` must be two numbers with 0 < least <= greatest, but is {scale}.")
        at_least(0, shift=shift)
        self.scale = scale
        self.shift = shift
        self.normals = normals

    def __call__(self, sample: Sample) -> Sample:
        least, greatest = self.scale
        factor = least + (greatest - least) * torch.rand(3)
        shift = self.shift * (2 * torch.rand(3) - 1)
        return _placed(sample, self.normals, lambda places: places * factor + shift, lambda normals: normals / factor)


class Jitter:
    """Moves each point by normal noise that is cut off (PointNet, Qi et al. 2017).

    Args:
        sigma: standard deviation along each axis, in the cloud's unit.
        clip: the greatest move along each axis, likewise.
    """

    def __init__(self, sigma: float = 0.01, clip: float = 0.05) -> None:
        if not 0 < sigma <= clip:
            raise ValueError(f"`sigma` must be in (0, `clip`], but they are {sigma} and {clip}.")
        self.sigma = sigma
        self.clip = clip

    def __call__(self, sample: Sample) -> Sample:
        noise = (self.sigma * torch.randn(len(sample["points"]), 3)).clamp(-self.clip, self.clip)
        return _placed(sample, None, lambda places: places + noise)


class DropPoints:
    """Puts a random share of points on the first one, so that the count stays (PointNet++, Qi et al. 2017).

    Args:
        max_ratio: the share is drawn evenly from [0, max_ratio], in (0, 1).
    """

    def __init__(self, max_ratio: float = 0.875) -> None:
        inside("(0, 1)", max_ratio=max_ratio)
        self.max_ratio = max_ratio

    def __call__(self, sample: Sample) -> Sample:
        points = sample["points"]
        dropped = torch.rand(len(points)) <= torch.rand(()) * self.max_ratio
        if "valid" in sample:
            dropped &= sample["valid"]
        sample = sample | {"points": torch.where(dropped[:, None], points[0], points)}
        if "part" in sample:
            sample["part"] = torch.where(dropped, sample["part"][0], sample["part"])
        return sample


class Composed:
    """One after another."""

    def __init__(self, steps: Sequence[Augment]) -> None:
        self.steps = steps

    def __call__(self, sample: Sample) -> Sample:
        for step in self.steps:
            sample = step(sample)
        return sample


Name = Literal["rotate-x", "rotate-y", "rotate-z", "rotate", "scale-translate", "jitter", "drop-points"]
AUGMENTATIONS: dict[Name, Callable[[int | None], Augment]] = {
    "rotate-x": lambda normals: Rotate("x", normals),
    "rotate-y": lambda normals: Rotate("y", normals),
    "rotate-z": lambda normals: Rotate("z", normals),
    "rotate": lambda normals: Rotate(None, normals),
    "scale-translate": lambda normals: ScaleTranslate(normals=normals),
    "jitter": lambda normals: Jitter(),
    "drop-points": lambda normals: DropPoints(),
}


def augmentation(names: Sequence[str] | Augment, normals: int | None) -> list[Augment]:
    """The augmentations of those names in that order, at their papers' settings; or the one given.

    Raises:
        ValueError: an unknown name.
    """
    if callable(names):
        return [names]
    for name in names:
        if name not in AUGMENTATIONS:
            near = quoted(nearest(name, AUGMENTATIONS) or AUGMENTATIONS)
            raise ValueError(f"`augment` must be among {quoted(AUGMENTATIONS)}, but has {name!r}; nearest: {near}.")
    return [AUGMENTATIONS[cast(Name, name)](normals) for name in names]


def _placed(
    sample: Sample,
    normals: int | None,
    move: Callable[[Tensor], Tensor],
    turn: Callable[[Tensor], Tensor] | None = None,
) -> Sample:
    """A copy with places moved and normals turned; padding stays 0."""
    points = sample["points"].clone()
    points[:, :3] = move(points[:, :3])
    if normals is not None and turn is not None:
        columns = slice(normals, normals + 3)
        points[:, columns] = torch.nn.functional.normalize(turn(points[:, columns]), dim=-1)
    if "valid" in sample:
        points[~sample["valid"]] = 0
    return sample | {"points": points}


def _about(axis: str) -> Tensor:
    angle = float(torch.rand(())) * 2 * math.pi
    cos, sin = math.cos(angle), math.sin(angle)
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    rotation = torch.eye(3)
    rotation[first, first] = rotation[second, second] = cos
    rotation[first, second], rotation[second, first] = -sin, sin
    return rotation


def _any_rotation() -> Tensor:
    """Of a unit quaternion drawn evenly."""
    w, x, y, z = torch.nn.functional.normalize(torch.randn(4, dtype=torch.float64), dim=0).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
