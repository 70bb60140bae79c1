"""Point-cloud data: clouds in, samples of one size out, whatever the source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset

from unmask.api import at_least, nearest, quoted
from unmask.data import MOST_CLASSES, Item, Packed, Sample, ShardError, Source, SourceDataModule, Splits
from unmask_pointcloud.data.augment import Augment, Composed, Name, augmentation
from unmask_pointcloud.data.clouds import (
    CHANNELS,
    NORMALIZE,
    Cloud,
    Clouds,
    Fit,
    collect,
    finite,
    normalized,
)
from unmask_pointcloud.data.reading import read_file
from unmask_pointcloud.data.report import THINNED, PointCloudReport


class PointCloudData(SourceDataModule):
    """Point clouds of a source whose items give files, or a `Cloud` with ``channels``.

    A batch is dense: ``points`` ``[B, num_points, 3 + C]`` float32 (x, y, z, then ``channels`` in their order),
    ``index`` ``[B]``, ``name`` (B words, as the source calls clouds); where clouds have a class, ``label`` ``[B]``;
    where points have one, ``part`` ``[B, num_points]`` (-100 at padding); and where any cloud has fewer points than
    ``num_points``, ``valid`` ``[B, num_points]``.

    All clouds but those of shards are read once and kept in memory, at most ``stored_points`` of each in an order of
    their own: 4 bytes a number. A training sample is ``num_points`` of those, drawn anew each time; in validation and
    probes they are the same in every run. What is odd is handled as `PointCloudReport` says, counted, and shown once
    before training.
    Points that are not finite are left out, and so are clouds that cannot be used: empty, of one point or place,
    damaged, with coordinates beyond single precision, with classes of points that are no whole numbers below 100,000.
    What is held out and which labels count is said in `SourceDataModule`.

    Args:
        source: where the clouds come from.
        num_points: of a sample, at least 2: 1,024 in Point-BERT and Point-MAE.
        channels: of each point beside its place: ``normals``, ``rgb`` (in [0, 1]), ``intensity``.
        normalize: ``sphere``: each cloud's mean is the origin and its farthest point lies at 1, as in Point-MAE;
            ``centre``: the unit is kept, for clouds whose size tells something; ``none``: places are kept, too.
        stored_points: kept of each cloud, at least ``num_points``.
        augment: among ``rotate-x``, ``rotate-y``, ``rotate-z`` (about that axis), ``rotate`` (in all ways),
            ``scale-translate`` (Point-MAE's), ``jitter``, ``drop-points``, in that order; or a callable on samples.
        val_ratio: share held out, in [0, 1), where the source knows no such part.
        batch_size: clouds per device and step; Point-MAE's.
        num_workers: loading processes per device; None: by the number of clouds.
        val_batch_size: clouds per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a value outside its range; in `setup`, no cloud that can be used.
    """

    sample_name: ClassVar[str] = "clouds"
    item: ClassVar[str] = "cloud"
    facts = {"num_points": (int,), "number": (int,), "parts": (list, NoneType)}
    item_name: ClassVar[str] = "point cloud"
    keys: ClassVar[tuple[str, ...]] = ("points", "part", "valid", "label", "name", "index")
    report: PointCloudReport

    def __init__(
        self,
        source: Source,
        num_points: int = 1024,
        channels: tuple[str, ...] = (),
        normalize: str = "sphere",
        stored_points: int = 8192,
        augment: tuple[Name, ...] | Callable[[Sample], Sample] = ("scale-translate",),
        val_ratio: float = 0.1,
        batch_size: int = 128,
        **shared: Any,
    ) -> None:
        super().__init__(
            source=source, report=PointCloudReport("clouds"), val_ratio=val_ratio, batch_size=batch_size, augment=None,
            **shared,
        )  # fmt: skip
        for name in channels:
            if name not in CHANNELS:
                near = quoted(nearest(name, CHANNELS) or CHANNELS)
                raise ValueError(f"`channels` must be among {quoted(CHANNELS)}, but has {name!r}; nearest: {near}.")
        if len(set(channels)) < len(channels):
            raise ValueError(f"`channels` must name each channel once, but is {list(channels)}.")
        if normalize not in NORMALIZE:
            near = quoted(nearest(normalize, NORMALIZE) or NORMALIZE)
            raise ValueError(f"`normalize` must be one of {quoted(NORMALIZE)}, but is {normalize!r}; nearest: {near}.")
        at_least(2, num_points=num_points)
        if stored_points < num_points:
            raise ValueError(f"`stored_points` must be at least `num_points` = {num_points}, but is {stored_points}.")
        self.num_points = num_points
        self.channels = tuple(channels)
        self.normalize = normalize
        self.stored_points = stored_points
        before = [CHANNELS[name] for name in channels[: channels.index("normals")]] if "normals" in channels else None
        self.read: Callable[[Path], Cloud] = partial(read_file, channels=self.channels, num_points=self.stored_points)
        self.augmentations: list[Augment] = augmentation(augment, None if before is None else 3 + sum(before))

    @property
    def width(self) -> int:
        """3 + C, numbers of a point."""
        return 3 + sum(CHANNELS[name] for name in self.channels)

    def collect(self, items: Iterable[Item]) -> Clouds:
        return collect(items, self.width, self.normalize, self.num_points, self.stored_points, self.report, self.read)

    def shard_content(self, content: Any, number: int) -> Packed:
        cloud = self.read(content) if isinstance(content, Path) else content
        if not isinstance(cloud, Cloud):
            raise ShardError(f"{type(self).__name__} has a {type(content).__name__} for each cloud, no points.")
        clean, _ = finite(cloud, self.width)
        normalized(clean.points, self.normalize)  # what cannot be used is met here
        known = {} if clean.part is None else {"part": clean.part}
        made = super().shard_content({"points": clean.points, **known}, number)
        classes = None if clean.part is None else np.unique(clean.part).tolist()
        return made._replace(facts={"num_points": len(clean.points), "number": number, "parts": classes})

    def samples(self, kept: Clouds, chosen: list[int], labelled: bool, trained: bool) -> View:
        same = Fit(self.num_points, self.report.padded, drawn=False)
        return View(kept, chosen, labelled, None if trained else same)

    def load(self) -> Splits:
        splits = super().load()  # reads the clouds, which may be smaller than a sample
        self.augment = Composed([Fit(self.num_points, self.report.padded, drawn=True), *self.augmentations])
        return splits

    def alone(self, kept: Clouds) -> str:
        thinned = self.report.findings.named(THINNED)
        left = f", of which {self.stored_points:,} points (`stored_points`) would be kept" if thinned else ""
        cut = "`points_per_crop` or `crop_size` of `pointcloud.files` cuts a large scan into crops"
        return f", {thinned or kept.items[0].name}{left}; {cut}"


def numbered(items: Sequence[Item]) -> list[str]:
    """Names of classes that have none: their numbers, from 0 to the greatest label.

    Raises:
        ValueError: a label of `MOST_CLASSES` or more.
    """
    largest = max((item.label for item in items if isinstance(item.label, int)), default=-1)
    if largest >= MOST_CLASSES:
        raise ValueError(f"Labels must be class numbers below {MOST_CLASSES:,}, but go up to {largest:,}.")
    return [str(number) for number in range(largest + 1)]


class View(Dataset):
    """Chosen clouds, with their class where all of them have one, and brought to one size where asked for."""

    def __init__(self, clouds: Clouds, chosen: list[int], labelled: bool, fit: Fit | None = None) -> None:
        self.clouds = clouds
        self.chosen = chosen
        self.labelled = labelled
        self.fit = fit

    @property
    def of(self) -> list[Item]:
        """The item of each sample."""
        return [self.clouds.items[place] for place in self.chosen]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = self.chosen[index]
        item = self.clouds.items[place]
        sample = self.clouds[place] | dict(item.groups) | {"name": item.name}
        sample |= {"label": torch.as_tensor(self.clouds.label[place])} if self.labelled else {}
        return sample if self.fit is None else self.fit(sample)
