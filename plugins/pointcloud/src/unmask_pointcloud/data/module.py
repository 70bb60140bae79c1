"""Point-cloud data modules: clouds in, samples of one size out, whatever the source."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from torch.utils.data import Dataset

from unmask.api import IGNORED, at_least, inside, nearest, quoted, track
from unmask.data import MaskedDataModule, Sample, Splits, held_out
from unmask_pointcloud.data.augment import Augment, Composed, Name, augmentation
from unmask_pointcloud.data.clouds import CHANNELS, MOST_CLASSES, NORMALIZE, Clouds, Fit, Source, collect
from unmask_pointcloud.data.report import THINNED, UNPROBED, UNREADABLE, UNSEEN, Report


class Sources(NamedTuple):
    """What a data module reads.

    Args:
        train: clouds to train on.
        val: clouds to validate and score on; None: a fixed random part of ``train``.
        classes: names of labels.
    """

    train: Sequence[Source]
    val: Sequence[Source] | None
    classes: list[str]


class PointCloudData(MaskedDataModule):
    """Point clouds; a subclass says where they come from (`sources`).

    A batch is dense: ``points`` ``[B, num_points, 3 + C]`` float32 (x, y, z, then ``channels`` in their order),
    ``index`` ``[B]``; where clouds have a class, ``label`` ``[B]``; where points have one, ``part`` ``[B, num_points]``
    (-100 at padding); and where any cloud has fewer points than ``num_points``, ``valid`` ``[B, num_points]``.

    All clouds are read once and kept in memory, at most ``stored_points`` of each in an order of their own: 4 bytes
    a number. A training sample is ``num_points`` of those, drawn anew each time; in validation and probes they are the
    same in every run. What is odd is handled as `Report` says, counted, and shown once before training. Points that
    are not finite are left out, and so are clouds that cannot be used: empty, of one point or place, damaged, with
    coordinates beyond single precision, with classes of points that are no whole numbers below 100,000. Labels that
    are all of one class are left out, for they tell nothing; probes see the clouds that have one.

    Args:
        num_points: of a sample, at least 2: 1,024 in Point-BERT and Point-MAE.
        channels: of each point beside its place: ``normals``, ``rgb`` (in [0, 1]), ``intensity``.
        normalize: ``sphere``: each cloud's mean is the origin and its farthest point lies at 1, as in Point-MAE;
            ``centre``: the unit is kept, for clouds whose size tells something; ``none``: places are kept, too.
        stored_points: kept of each cloud, at least ``num_points``.
        augment: among ``rotate-x``, ``rotate-y``, ``rotate-z`` (about that axis), ``rotate`` (in all ways),
            ``scale-translate`` (Point-MAE's), ``jitter``, ``drop-points``, in that order; or a callable on samples.
        val_ratio: share held out, in (0, 1), where the source knows no such part.
        batch_size: clouds per device and step; Point-MAE's.
        num_workers: loading processes per device; None: by the number of clouds.
        val_batch_size: clouds per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a value outside its range; in `setup`, no cloud that can be used.
    """

    sample_name: ClassVar[str] = "clouds"

    def __init__(
        self,
        num_points: int = 1024,
        channels: tuple[str, ...] = (),
        normalize: str = "sphere",
        stored_points: int = 8192,
        augment: tuple[Name, ...] | Callable[[Sample], Sample] = ("scale-translate",),
        val_ratio: float = 0.1,
        batch_size: int = 128,
        **shared: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, augment=None, **shared)
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
        inside("(0, 1)", val_ratio=val_ratio)
        self.num_points = num_points
        self.channels = tuple(channels)
        self.normalize = normalize
        self.stored_points = stored_points
        self.val_ratio = val_ratio
        before = [CHANNELS[name] for name in channels[: channels.index("normals")]] if "normals" in channels else None
        self.augmentations: list[Augment] = augmentation(augment, None if before is None else 3 + sum(before))
        self.report = Report()

    @abstractmethod
    def sources(self) -> Sources:
        """What is to be read; called once, on every device's process."""

    @property
    def width(self) -> int:
        """3 + C, numbers of a point."""
        return 3 + sum(CHANNELS[name] for name in self.channels)

    @cached_property
    def classes(self) -> list[str]:
        """Names of the labels; empty: there are none."""
        return self._read[2]

    @cached_property
    def _read(self) -> tuple[Clouds, Clouds | None, list[str]]:
        """Clouds to train on, those to validate on, and names of classes."""
        train, val, classes = self.sources()
        parts: list[Clouds | None] = []
        for part in (train, val):
            if part is None:
                parts.append(None)
                continue
            clouds = collect(
                track(part, "reading clouds"),
                self.width,
                self.normalize,
                self.num_points,
                self.stored_points,
                self.report,
            )
            if not len(clouds):
                told = self.report.findings.named(UNREADABLE)
                told = f": {told}" if told else ""
                raise ValueError(f"The data must have a point cloud that can be used, but has none{told}.")
            parts.append(clouds)
        assert parts[0] is not None
        by_part = [set(part.label.tolist()) - {IGNORED} for part in parts if part is not None]
        self.report.num_classes = len(set().union(*by_part))
        if parts[1] is not None and by_part[0]:
            for label, name in zip(parts[1].label, parts[1].names, strict=True):
                self.report.findings.note(UNSEEN, name, int(label not in by_part[0] | {IGNORED}))
        return parts[0], parts[1], classes if self.report.num_classes > 1 else []

    def found(self) -> str:
        counts = super().found()  # loads the data, which fills the report
        return f"{self.report}\n  {counts}"

    def load(self) -> Splits:
        clouds, val_clouds, classes = self._read
        if val_clouds is None:
            if len(clouds) < 2:
                thinned = self.report.findings.named(THINNED)
                kept = f", of which {self.stored_points:,} points (`stored_points`) would be kept" if thinned else ""
                raise ValueError(
                    "The data must have at least 2 point clouds, to train and to validate on, but has 1, "
                    f"{thinned or clouds.names[0]}{kept}; cut a large scan into pieces, a file each."
                )
            train, val = held_out(len(clouds), self.val_ratio)
            val_clouds = clouds
        else:
            train, val = list(range(len(clouds))), list(range(len(val_clouds)))
        padded = self.report.padded
        self.augment = Composed([Fit(self.num_points, padded, drawn=True), *self.augmentations])
        same = Fit(self.num_points, padded, drawn=False)
        with_class = [
            [i for i in chosen if part.label[i] != IGNORED] for part, chosen in ((clouds, train), (val_clouds, val))
        ]
        probed = bool(classes) and all(with_class)
        for name, part in zip(("to train on", "to validate on"), with_class, strict=True):
            self.report.findings.note(UNPROBED, name, int(bool(classes) and not part))
        labelled = probed and with_class == [train, val]
        splits = Splits(View(clouds, train, labelled), View(val_clouds, val, labelled, same))
        if not probed:
            return splits
        return splits._replace(
            probe_train=View(clouds, with_class[0], True, same), probe_test=View(val_clouds, with_class[1], True, same)
        )


def numbered(sources: Sequence[Source]) -> list[str]:
    """Names of classes that have none: their numbers, from 0 to the greatest label.

    Raises:
        ValueError: a label of `MOST_CLASSES` or more.
    """
    largest = max((source.label for source in sources if source.label is not None), default=-1)
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

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = self.chosen[index]
        sample = self.clouds[place] | ({"label": int(self.clouds.label[place])} if self.labelled else {})
        return sample if self.fit is None else self.fit(sample)
