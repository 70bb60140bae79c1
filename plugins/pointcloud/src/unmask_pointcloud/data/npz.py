"""Clouds of one size in NumPy archives, as ModelNet40 and other benchmarks are often passed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unmask.api import quoted
from unmask.data import MOST_CLASSES, Findings, Found, Item, Source, read_npz
from unmask_pointcloud.data.clouds import CHANNELS, Cloud
from unmask_pointcloud.data.columns import of_rows
from unmask_pointcloud.data.module import PointCloudData, numbered
from unmask_pointcloud.data.rows import ARRAYS

READ = ("points", "label", "part", "classes")
"""Arrays of an archive."""
OTHER_PART = "archives have a `part` that is not of clouds and points, which is left out"
"""What can be odd about an archive, in words."""


class NpzCloudsData(PointCloudData):
    """``.npz`` files, each with ``points`` ``[n, P, 3 + C]`` and, where there are any, whole numbers ``label`` ``[n]``.

    ``points`` have x, y, z and then ``channels`` in their order, read as rows of `unmask_pointcloud.data.reading` are;
    columns behind those are left out and told. ``part`` ``[n, P]`` are classes of points (one of other sides is
    something else, and left out), ``classes`` names of labels, which must be the same in all files.
    Clouds of a file without ``label``, or with one below 0, are trained on and not probed.

    Args:
        paths: files to train on.
        val_paths: files to validate and score on; None: a fixed random part of ``paths``.

    Raises:
        ValueError: in `setup`, a file that is missing, damaged or of other arrays; also as `PointCloudData`.

    Further arguments are those of `PointCloudData`.
    """

    def __init__(
        self,
        paths: str | list[str],
        val_paths: str | list[str] | None = None,
        channels: tuple[str, ...] = (),
        **shared: Any,
    ) -> None:
        super().__init__(source=NpzSource(paths, val_paths, channels), channels=channels, **shared)


@dataclass
class NpzSource(Source):
    """The clouds of those archives; the fields are options of `NpzCloudsData`."""

    paths: str | list[str]
    val_paths: str | list[str] | None = None
    channels: tuple[str, ...] = ()

    def read(self, findings: Findings) -> Found:
        named: dict[str, list[str]] = {}
        train = self._of(self.paths, named, findings)
        val = None if self.val_paths is None else self._of(self.val_paths, named, findings)
        if len({tuple(names) for names in named.values()}) > 1:
            raise ValueError(f"`classes` must be the same in all files, but differs in {quoted(named)}.")
        if named:
            return Found(train, val, next(iter(named.values())))
        return Found(train, val, numbered([*train, *(val or [])]))

    def _of(self, paths: str | list[str], named: dict[str, list[str]], findings: Findings) -> list[Item]:
        """Clouds of files; the names of classes that those have are added to ``named``."""
        found, width = [], 3 + sum(CHANNELS[name] for name in self.channels)
        for path in (Path(path).expanduser() for path in ([paths] if isinstance(paths, str) else paths)):
            arrays, others = _opened(path)
            if others:
                findings.note(ARRAYS.format(", ".join(others)), path.name)
            points, label, part = arrays["points"], arrays.get("label"), arrays.get("part")
            if part is not None and part.ndim != 2:
                findings.note(OTHER_PART, path.name)
                part = None
            if points.ndim != 3 or points.shape[2] < width:
                numbers = " + ".join(["3", *(f"{CHANNELS[name]} ({name})" for name in self.channels)])
                raise ValueError(
                    f"`points` of {path} must be [clouds, points, {numbers} or more], but are {list(points.shape)}."
                )
            for name, array, shape in (("label", label, points.shape[:1]), ("part", part, points.shape[:2])):
                if array is not None and (array.shape != shape or array.dtype.kind not in "iu"):
                    raise ValueError(
                        f"`{name}` of {path} must be whole numbers {list(shape)}, but is {array.dtype} "
                        f"{list(array.shape)}."
                    )
                if array is not None and array.size and int(array.max()) >= MOST_CLASSES:
                    raise ValueError(
                        f"`{name}` of {path} must be class numbers below {MOST_CLASSES:,}, but goes up to "
                        f"{int(array.max()):,}."
                    )
            if "classes" in arrays and label is not None:
                named[str(path)] = [str(name) for name in arrays["classes"]]
                if label.size and int(label.max()) >= len(named[str(path)]):
                    raise ValueError(
                        f"`label` of {path} must be below {len(named[str(path)])}, the number of its `classes`, but "
                        f"is {int(label.max())}."
                    )
            for row in range(len(points)):
                read = partial(_cloud, points[row], None if part is None else part[row], self.channels)
                own = int(label[row]) if label is not None else -1
                found.append(Item(f"{path.name}[{row}]", read, own if own >= 0 else None))
        return found


def _opened(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """What an archive has of the arrays that are read, and names of its others."""
    if not path.is_file():
        raise ValueError(f"`paths` must be .npz files, but there is no {str(path)!r}.")
    try:
        arrays, found = read_npz(path, READ)
    except Exception as error:  # NumPy's reader raises nearly anything on a damaged header
        told = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(f"`paths` must be .npz files that can be read, but {path} is not: {told}.") from error
    if "points" not in arrays:
        raise ValueError(f"{path} must have an array `points`, but has {quoted(sorted(found)) or 'none'}.")
    return arrays, sorted(set(found) - set(READ))


def _cloud(points: np.ndarray, part: np.ndarray | None, channels: Sequence[str]) -> Cloud:
    return of_rows(points, channels)._replace(part=part)
