"""Point clouds in memory: checked, brought to one scale, and cut to samples of one size.

Coordinates stay in double precision until they are centred: those of maps, millions of metres from their origin, would
lose centimetres in single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask import seeds
from unmask.api import IGNORED
from unmask_pointcloud.data.report import HOLED, PARTLESS, REPEATED, SMALL, THINNED, UNREADABLE, Report

CHANNELS = {"normals": 3, "rgb": 3, "intensity": 1}
"""What a point may have beside its place, and how many numbers that is."""
NORMALIZE = ("sphere", "centre", "none")
FINEST = 1e-3
"""Share of a cloud's size that single precision may round off."""
MOST_CLASSES = 100_000
"""Classes are numbers below this one: memory grows with the greatest."""
LOOKED_AT = 1024
"""Points of a cloud among which repeated ones are looked for."""


class Unreadable(ValueError):  # noqa: N818 (says what the cloud is)
    """This is no cloud that can be used; the message says why, without the cloud's name."""


class Cloud(NamedTuple):
    """One cloud as its source has it.

    Args:
        points: ``[n, 3 + C]``, places and then channels: normals, colours in [0, 1], intensities.
        part: ``[n]``, class of each point, below 0 where it has none; None: there is none.
        odd: what a report says of it, in the words of `Findings`.
    """

    points: np.ndarray
    part: np.ndarray | None = None
    odd: tuple[str, ...] = ()


class Source(NamedTuple):
    """One cloud that is still to be read.

    Args:
        name: what a report calls it.
        read: gives it, or raises `Unreadable` or OSError.
        label: its class; None: it has none.
    """

    name: str
    read: Callable[[], Cloud]
    label: int | None = None


class Clouds(Dataset):
    """Clouds of any sizes: ``{"points": [n, 3 + C] float32}`` and, where known, ``part`` ``[n]``.

    Attributes:
        label: ``[N]`` int64, `IGNORED` where a cloud has none.
        names: what a report calls each.
    """

    def __init__(
        self, points: list[np.ndarray], label: Sequence[int], parts: list[np.ndarray] | None, names: Sequence[str]
    ) -> None:
        self.points = points
        self.label = np.asarray(label, dtype=np.int64)
        self.parts = parts
        self.names = names

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample: dict[str, Any] = {"points": torch.from_numpy(self.points[index])}
        return sample if self.parts is None else sample | {"part": torch.from_numpy(self.parts[index])}


def collect(
    sources: Iterable[Source], width: int, normalize: str, num_points: int, stored_points: int, report: Report
) -> Clouds:
    """Reads clouds; those that cannot be used are left out, counted and named.

    Args:
        sources: what to read.
        width: 3 + C.
        normalize: see `normalized`.
        num_points: of a sample: smaller clouds are counted.
        stored_points: kept of each cloud, drawn evenly; the order of points is random, and the same in every run.
        report: what is found is added to it.
    """
    points: list[np.ndarray] = []
    parts: list[np.ndarray | None] = []
    labels: list[int] = []
    names: list[str] = []
    for source in sources:
        try:
            cloud, num_odd = _finite(source.read(), width)
            places = normalized(cloud.points, normalize)
        except (Unreadable, OSError) as error:
            report.findings.note(UNREADABLE, f"{source.name} ({error})")
            continue
        order = torch.randperm(len(places), generator=seeds.generator("cpu", "points", len(points))).numpy()
        order = order[:stored_points]
        points.append(np.ascontiguousarray(places[order]))
        parts.append(None if cloud.part is None else cloud.part[order])
        labels.append(IGNORED if source.label is None else source.label)
        names.append(source.name)
        report.num_clouds += 1
        report.num_points += len(order)
        for what in cloud.odd:
            report.findings.note(what, source.name)
        report.findings.note(HOLED, f"{source.name} ({num_odd:,} of them)", int(num_odd > 0))
        report.findings.note(THINNED, f"{source.name} ({len(places):,})", int(len(places) > stored_points))
        report.findings.note(SMALL, f"{source.name} ({len(places):,})", int(len(places) < num_points))
        some = points[-1][:LOOKED_AT]
        report.findings.note(REPEATED, source.name, int(2 * len(np.unique(some, axis=0)) <= len(some)))
    report.num_unlabelled += labels.count(IGNORED)
    known = [part for part in parts if part is not None]
    if known and len(known) < len(parts):
        for name, part in zip(names, parts, strict=True):
            report.findings.note(PARTLESS, name, int(part is None))
    return Clouds(points, labels, known if known and len(known) == len(parts) else None, names)


def normalized(points: np.ndarray, how: Literal["sphere", "centre", "none"] | str) -> np.ndarray:
    """Points in single precision; channels as they are.

    Args:
        points: ``[n, 3 + C]`` float64, finite.
        how: ``sphere``: the mean is the origin, the farthest point lies at 1, as in Point-MAE; ``centre``: the mean
            is the origin, the unit is kept; ``none``: as they are.

    Raises:
        Unreadable: all points lie in one place, or single precision cannot tell them apart.
    """
    places = points[:, :3]
    size = float(np.ptp(places, axis=0).max())
    if size == 0:
        raise Unreadable("all its points lie in one place")
    if how != "none":
        places = places - places.mean(0)
    if how == "sphere":
        places = places / np.abs(places).max()  # first, so that no square is too large
        places = places / np.linalg.norm(places, axis=1).max()
    largest = float(np.abs(places).max())
    if how == "none" and largest * np.finfo(np.float32).eps > FINEST * size:
        raise Unreadable(
            f"its coordinates, up to {largest:.3g}, are too large to tell points {size:.3g} apart in single precision; "
            "`normalize` must be 'centre' or 'sphere'"
        )
    with np.errstate(over="ignore"):
        made = np.concatenate([places, points[:, 3:]], axis=1).astype(np.float32)
    if not np.isfinite(made).all() or float(np.ptp(made[:, :3], axis=0).max()) == 0:
        raise Unreadable(f"its coordinates, {size:.3g} across, are beyond single precision")
    return made


class Fit:
    """As many points of a cloud as a sample has: drawn at random, or the first ones, which is always the same draw.

    Args:
        num_points: of a sample.
        padded: add ``valid`` ``[num_points]`` bool, False where a smaller cloud was filled up with zeros.
        drawn: at random.
    """

    def __init__(self, num_points: int, padded: bool, drawn: bool) -> None:
        self.num_points = num_points
        self.padded = padded
        self.drawn = drawn

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        length = int(sample["valid"].sum()) if "valid" in sample else len(sample["points"])  # filled up before, or not
        order = torch.randperm(length) if self.drawn else torch.arange(length)
        order = order[: self.num_points]
        sample = sample | {"points": self._filled(sample["points"][order], 0)}
        if "part" in sample:
            sample["part"] = self._filled(sample["part"][order], IGNORED)
        return sample | {"valid": torch.arange(self.num_points) < length} if self.padded else sample

    def _filled(self, values: Tensor, filling: int) -> Tensor:
        missing = self.num_points - len(values)
        return torch.cat([values, values.new_full((missing, *values.shape[1:]), filling)]) if missing else values


def _finite(cloud: Cloud, width: int) -> tuple[Cloud, int]:
    """Without points that are not finite, in double precision; and how many of those there were."""
    points = np.asarray(cloud.points)
    if points.ndim != 2 or points.shape[1] != width or points.dtype.kind not in "fiu":
        raise Unreadable(f"points are {points.dtype} {list(points.shape)} instead of numbers [points, {width}]")
    points = points.astype(np.float64)
    part = None if cloud.part is None else _classes(cloud.part, len(points))
    finite = np.isfinite(points).all(1)
    num_odd = len(points) - int(finite.sum())
    if len(points) - num_odd < 2:
        odd = f" and {num_odd} that are not finite" if num_odd else ""
        raise Unreadable(f"it has {len(points) - num_odd} points{odd}; at least 2 are needed")
    if num_odd:
        points, part = points[finite], None if part is None else part[finite]
    return Cloud(points, part, cloud.odd), num_odd


def _classes(part: np.ndarray, num_points: int) -> np.ndarray:
    """Classes of points as int64, `IGNORED` where there is none."""
    if part.shape != (num_points,) or part.dtype.kind not in "iu":
        raise Unreadable(
            f"classes of points are {part.dtype} {list(part.shape)} instead of whole numbers [{num_points}]"
        )
    if part.size and int(part.max()) >= MOST_CLASSES:
        raise Unreadable(f"classes of points must be below {MOST_CLASSES:,}, but go up to {int(part.max()):,}")
    part = part.astype(np.int64)
    return np.where(part < 0, IGNORED, part)
