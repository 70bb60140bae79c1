"""Point clouds in memory, or in shards: checked, brought to one scale, and cut to samples of one size.

Coordinates stay in double precision until they are centred: those of maps, millions of metres from their origin, would
lose centimetres in single precision.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask import seeds
from unmask.api import IGNORED
from unmask.data import MOST_CLASSES, UNREADABLE, Item, Unreadable, unknown_like
from unmask_pointcloud.data.report import HOLED, PARTLESS, REPEATED, SMALL, THINNED, PointCloudReport

CHANNELS = {"normals": 3, "rgb": 3, "intensity": 1}
"""What a point may have beside its place, and how many numbers that is."""
NORMALIZE = ("sphere", "centre", "none")
FINEST = 1e-3
"""Share of a cloud's size that single precision may round off."""
LOOKED_AT = 1024
"""Points of a cloud among which repeated ones are looked for."""


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


class Clouds(Dataset):
    """Clouds of any sizes: ``{"points": [n, 3 + C] float32}`` and, where known, ``part`` ``[n]``.

    Args:
        points: of each cloud; None: it lies in a shard.
        parts: classes of its points; None: there are none.
        items: what each was read from; with contents where it lies in a shard.
        make: reads the points and classes of such an item.

    Attributes:
        label: ``[N]`` int64, `IGNORED` where a cloud has none; or numbers, ``[N]`` or ``[N, C]``.
    """

    def __init__(
        self,
        points: list[np.ndarray | None],
        parts: list[np.ndarray | None] | None,
        items: list[Item],
        make: Callable[[Item], tuple[np.ndarray, np.ndarray | None]] | None = None,
    ) -> None:
        self.points = points
        self.parts = parts
        self.items = items
        self.make = make
        self._told: set[int] = set()
        known = next((item.label for item in items if item.label is not None), None)
        self.label = np.asarray([unknown_like(known) if item.label is None else item.label for item in items])

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict[str, Any]:
        points, part = self._of(index)
        sample: dict[str, Any] = {"points": torch.from_numpy(points)}
        return sample if self.parts is None else sample | {"part": torch.from_numpy(part)}

    def _of(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Points and classes; where a shard turns out to be damaged there, the next cloud stands in, which is told."""
        for place in (*range(index, len(self)), *range(index)):
            kept = self.points[place]
            if kept is not None or self.make is None:
                assert kept is not None
                return kept, None if self.parts is None else self.parts[place]
            try:
                return self.make(self.items[place])
            except (Unreadable, OSError) as error:
                if place not in self._told:
                    self._told.add(place)
                    warnings.warn(
                        f"{self.items[place].name} cannot be read ({error}); the next cloud stands in for it.",
                        stacklevel=2,
                    )
        raise ValueError(f"None of the {len(self)} clouds can be read any more.")


def collect(
    items: Iterable[Item],
    width: int,
    normalize: str,
    num_points: int,
    stored_points: int,
    report: PointCloudReport,
    read: Callable[[Path], Cloud],
) -> Clouds:
    """Reads clouds; those that cannot be used are left out, counted and named.

    Args:
        items: what to read. Clouds that lie in shards are looked at by what the index says of them.
        width: 3 + C.
        normalize: see `normalized`.
        num_points: of a sample: smaller clouds are counted.
        stored_points: kept of each cloud, drawn evenly; the order of points is random, and the same in every run.
        report: what is found is added to it.
        read: makes a cloud of a file.
    """
    points: list[np.ndarray | None] = []
    parts: list[np.ndarray | None] = []
    kept: list[Item] = []
    classes: set[int] = set()
    partless: list[str] = []
    for item in items:
        if facts := item.facts:
            count = min(facts["num_points"], stored_points)
            points.append(None)
            parts.append(None)
            kept.append(item)
            classes.update(facts.get("parts", ()))
            partless += [] if "parts" in facts else [item.name]
            report.num_points += count
            report.findings.note(THINNED, f"{item.name} ({facts['num_points']:,})", int(count < facts["num_points"]))
            report.findings.note(SMALL, f"{item.name} ({count:,})", int(facts["num_points"] < num_points))
            continue
        try:
            given = item.read()
            cloud, num_odd = finite(read(given) if isinstance(given, Path) else given, width)
            places = normalized(cloud.points, normalize)
        except (Unreadable, OSError) as error:
            report.findings.note(UNREADABLE, f"{item.name} ({error})")
            continue
        order = _drawn(len(places), len(points))[:stored_points]
        points.append(np.ascontiguousarray(places[order]))
        parts.append(None if cloud.part is None else cloud.part[order])
        kept.append(item._replace(content=None))  # which may be a whole archive
        report.num_points += len(order)
        for what in cloud.odd:
            report.findings.note(what, item.name)
        report.findings.note(HOLED, f"{item.name} ({num_odd:,} of them)", int(num_odd > 0))
        report.findings.note(THINNED, f"{item.name} ({len(places):,})", int(len(places) > stored_points))
        report.findings.note(SMALL, f"{item.name} ({len(places):,})", int(len(places) < num_points))
        some = places[order[:LOOKED_AT]]
        report.findings.note(REPEATED, item.name, int(2 * len(np.unique(some, axis=0)) <= len(some)))
        if cloud.part is None:
            partless.append(item.name)
        else:
            classes.update(np.unique(cloud.part[order]).tolist())
    if len(partless) < len(kept):
        for name in partless:
            report.findings.note(PARTLESS, name)
    report.num_parts = max(report.num_parts, 0 if partless else len(classes))  # those to validate on are read apart
    make = partial(_from_shard, width=width, normalize=normalize, stored_points=stored_points)
    return Clouds(points, None if partless else parts, kept, make)


def _from_shard(item: Item, width: int, normalize: str, stored_points: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Points and their classes, as `collect` makes them of a cloud that it reads."""
    arrays = item.read()
    if not isinstance(arrays, dict) or "points" not in arrays:
        raise Unreadable("no arrays with `points`")
    cloud, _ = finite(Cloud(arrays["points"], arrays.get("part")), width)
    places = normalized(cloud.points, normalize)
    order = _drawn(len(places), item.facts["number"])[:stored_points]
    return np.ascontiguousarray(places[order]), None if cloud.part is None else cloud.part[order]


def _drawn(count: int, number: int) -> np.ndarray:
    """The order of the points of a cloud, the same in every run."""
    return torch.randperm(count, generator=seeds.generator("cpu", "points", number)).numpy()


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


def finite(cloud: Cloud, width: int) -> tuple[Cloud, int]:
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
