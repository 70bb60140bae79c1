"""Scans cut into crops: each point belongs to exactly one, and crops to validate on lie apart from the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unmask import seeds
from unmask.data import UNREADABLE, Findings, Found, Item, Source, Unreadable, held_out
from unmask_pointcloud.data.clouds import Cloud
from unmask_pointcloud.data.report import HOLED, THINNED

APART = "scan is cut, and crops to validate on are those at its {} end"
JOINED = "cells of the grid have few points, and are joined to the nearest crop"
LONE = "scans have fewer points than a crop, and are kept whole"


@dataclass
class CropSource(Source):
    """Crops of the clouds of another source.

    With ``crop_size``, crops are columns over a grid in x and y, as high as the scan (S3DIS in PointNet, Qi et al.
    2017). With ``points_per_crop``, a cloud is halved along its longest side, its halves likewise, until no piece has
    more points. A single scan is validated at one end of its longest side; of several, whole ones are held out.

    Args:
        clouds: gives files.
        read_cloud: makes a cloud of a file.
        crop_size: length of a crop along x and y, in the unit of the files.
        points_per_crop: most points of a crop.
        least: points that a crop should have: cells of a grid with less than half of them are joined to others.
        stored_points: kept of each crop, drawn evenly.
        val_ratio: share held out, where ``clouds`` has no part to validate on.
    """

    clouds: Source
    read_cloud: Callable[[Path], Cloud]
    crop_size: float | None
    points_per_crop: int | None
    least: int
    stored_points: int
    val_ratio: float

    def prepare(self) -> None:
        self.clouds.prepare()

    def read(self, findings: Findings) -> Found:
        found = self.clouds.read(findings)
        train, *others = [
            [crops for item in part if (crops := self._crops(item, findings))] for part in found.parts
        ]  # crops by scan
        if not others and self.val_ratio and len(train) > 1:
            kept, left = held_out(len(train), self.val_ratio)
            train, others = [train[place] for place in kept], [[train[place] for place in left]]
        elif not others and self.val_ratio and train and len(train[0]) > 1:
            first, last = _apart(train[0], self.val_ratio, findings)
            train, others = [first], [[last]]
        parts = [[item for crops in part for item in crops] for part in (train, *others)]
        return Found.of(parts, found.classes, found.about)

    def _crops(self, item: Item, findings: Findings) -> list[Item]:
        """Crops of a scan; none of one that cannot be used, which is told."""
        try:
            cloud = self.read_cloud(item.read())
            places = np.asarray(cloud.points)[:, :3].astype(np.float64)
        except (Unreadable, OSError) as error:
            findings.note(UNREADABLE, f"{item.name} ({error})")
            return []
        for what in cloud.odd:
            findings.note(what, item.name)
        finite = np.flatnonzero(np.isfinite(cloud.points).all(1))
        findings.note(HOLED, f"{item.name} ({len(places) - len(finite):,} of them)", int(len(finite) < len(places)))
        if not len(finite):
            findings.note(UNREADABLE, f"{item.name} (it has no finite points)")
            return []
        crops = []
        decimals = 4 - math.ceil(math.log10(max(np.ptp(places[finite], axis=0).max(), 1e-300)))
        for rows in self.pieces(places[finite], item.name, findings):
            own = finite[rows]
            corner = ",".join(f"{number:.12g}" for number in places[own].min(0).round(decimals))
            name = f"{item.name}@{corner}"
            findings.note(THINNED, f"{name} ({len(own):,})", int(len(own) > self.stored_points))
            if len(own) > self.stored_points:
                keyed = np.random.default_rng(seeds.mix("crop", name))  # the same points in every run
                own = own[np.sort(keyed.choice(len(own), self.stored_points, replace=False))]
            part = None if cloud.part is None else cloud.part[own]
            crops.append(item._replace(name=name, content=Cloud(cloud.points[own], part)))
        return crops

    def pieces(self, places: np.ndarray, name: str, findings: Findings) -> list[np.ndarray]:
        """Rows of the crops of one scan.

        Args:
            places: ``[n, 3]``, finite.
            name: of the scan, in a message.
            findings: is told of what was joined or kept whole.
        """
        if self.points_per_crop is not None:
            findings.note(LONE, name, int(len(places) <= self.points_per_crop))
            return list(halved(places, np.arange(len(places)), self.points_per_crop))
        assert self.crop_size is not None
        cells, joined = gridded(places, self.crop_size, self.least)
        findings.note(JOINED, name, joined)
        return cells


def halved(places: np.ndarray, rows: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Rows of ``places`` ``[n, 3]`` in pieces of at most ``most``, which differ by one point at most."""
    waiting = [(rows, math.ceil(len(rows) / most))]
    while waiting:
        rows, count = waiting.pop()
        if count <= 1:
            yield np.sort(rows)
            continue
        own = places[rows]
        axis = int(np.ptp(own, axis=0).argmax())
        first = count // 2
        at = round(len(rows) * first / count)
        order = rows[np.argsort(own[:, axis], kind="stable")]
        waiting += [(order[at:], count - first), (order[:at], first)]


def gridded(places: np.ndarray, size: float, least: int) -> tuple[list[np.ndarray], int]:
    """Rows of ``places`` ``[n, 3]`` by cells of a grid in x and y; and how many small cells were joined to others.

    A cell is small where it has less than half of ``least`` points, or of the fullest cell's where that has fewer.
    """
    corner = places[:, :2].min(0)
    cells, number, counts = np.unique(
        np.floor((places[:, :2] - corner) / size).astype(np.int64), axis=0, return_inverse=True, return_counts=True
    )
    number = number.ravel()
    small = 2 * counts < min(least, counts.max())
    large = np.flatnonzero(~small)
    owner = np.arange(len(cells))
    for cell in np.flatnonzero(small):
        owner[cell] = large[np.abs(cells[large] - cells[cell]).sum(1).argmin()]
    order = np.argsort(owner[number], kind="stable")
    ends = np.cumsum(np.bincount(owner[number], minlength=len(cells)))[:-1]
    return [rows for rows in np.split(order, ends) if len(rows)], int(small.sum())


def _apart(crops: Sequence[Item], val_ratio: float, findings: Findings) -> tuple[list[Item], list[Item]]:
    """Crops to train on, and those at one end of the scan's longest side, with about ``val_ratio`` of its points."""
    middles = np.stack([crop.content.points[:, :3].mean(0) for crop in crops])
    axis = int(np.ptp(middles, axis=0).argmax())
    order = np.argsort(middles[:, axis], kind="stable")
    points = np.cumsum([len(crops[place].content.points) for place in order])
    first = int(np.searchsorted(points, points[-1] * (1 - val_ratio)))
    first = min(max(first, 1), len(crops) - 1)
    findings.note(APART.format(f"far {'xyz'[axis]}"), crops[0].name.rpartition("@")[0])
    return [crops[place] for place in order[:first]], [crops[place] for place in order[first:]]
