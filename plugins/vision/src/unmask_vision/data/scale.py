"""How the numbers of image files become values in [0, 1]: by their type, by a range, or by what was measured of them.

==============  ==========================================================================================
scale           0 and 1 are
==============  ==========================================================================================
``type``        the ends of the type's range: 0 and 65,535 of uint16, -32,768 and 32,767 of int16; floats stay
``range``       the two numbers given, for all bands or for each
``percentiles`` the 2nd and the 98th percentile of each band
``mean-std``    the mean of each band less and plus 3 standard deviations
==============  ==========================================================================================

Values beyond 0 and 1 are clipped but for ``type``. Where there is no data, the value is 0, whatever the scale: that is
where a number is NaN or infinite, or equals ``nodata``, which the option or the file's own tag tells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from unmask.data import NUM_NAMED

KINDS = ("type", "range", "percentiles", "mean-std")
LOW, HIGH = 2, 98
"""Percentiles that become 0 and 1."""
NUM_STDS = 3
PERCENTILES = (1, LOW, 5, 25, 50, 75, 95, HIGH, 99)
"""Those that are measured."""
NUM_KEPT = 2**21
"""Values of each band that percentiles are taken of, at most."""


class Scale(NamedTuple):
    """The numbers of each band that become 0 and 1, in the file's own units.

    Args:
        low: one for each band, or one for all.
        high: likewise, each above ``low``.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __str__(self) -> str:
        pairs = [f"{low:.6g} and {high:.6g}" for low, high in zip(*self, strict=True)]
        return "; ".join(pairs[:NUM_NAMED]) + (f" and {len(pairs) - NUM_NAMED} more" if len(pairs) > NUM_NAMED else "")

    def __call__(self, image: Tensor) -> Tensor:
        """``[C, H, W]`` float, clipped to [0, 1]."""
        low, high = (torch.tensor(ends, dtype=torch.float64)[:, None, None] for ends in self)
        return ((image - low) / (high - low)).clamp_(0, 1).float()


class Numbers(NamedTuple):
    """How numbers are read.

    Args:
        scale: None: by their type.
        nodata: the number that stands for no data; None: only what a file's own tag says.
        raw: give the numbers themselves, float32, and NaN where there is no data; ``scale`` does not count.
    """

    scale: Scale | None = None
    nodata: float | None = None
    raw: bool = False


def scale_of(kind: str, stats: Mapping[str, Any]) -> Scale:
    """The scale that measurements of each band give.

    Args:
        kind: ``percentiles`` or ``mean-std``.
        stats: what `BandStats.result` gives.

    Raises:
        ValueError: a band whose numbers are all alike.
    """
    if kind == "percentiles":
        low, high = (stats["percentiles"][str(one)] for one in (LOW, HIGH))
    else:
        pairs = list(zip(stats["mean"], stats["std"], strict=True))
        low, high = ([mean + sign * NUM_STDS * std for mean, std in pairs] for sign in (-1, 1))
    flat = [number for number, (a, b) in enumerate(zip(low, high, strict=True)) if not a < b]
    if flat:
        raise ValueError(
            f"`scale` must not be {kind!r} where the numbers of a band are all alike, as those of band {flat[0] + 1} "
            f"are: {low[flat[0]]:g}; nearest: 'range'."
        )
    return Scale(tuple(map(float, low)), tuple(map(float, high)))


def scale_between(ends: Sequence[Any]) -> Scale:
    """The scale of ``[low, high]``, or of such a pair for each band.

    Raises:
        ValueError: other than pairs of finite numbers, low before high.
    """
    pairs = [list(pair) for pair in ends] if all(isinstance(one, list | tuple) for one in ends) else [list(ends)]
    good = pairs and all(
        len(pair) == 2 and all(isinstance(one, int | float) for one in pair) and pair[0] < pair[1] for pair in pairs
    )
    if not good or not np.isfinite(pairs).all():
        raise ValueError(f"`scale_range` must be [low, high] with low < high, or one for each band, but is {ends}.")
    return Scale(tuple(float(low) for low, _ in pairs), tuple(float(high) for _, high in pairs))


def read_stats(path: Path, channels: int, kind: str) -> dict[str, Any]:
    """What ``unmask vision-stats`` has written, or somebody by hand: what a scale of that kind needs.

    Raises:
        ValueError: no such file, other content, or not a number for each of the channels.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or "it is neither JSON nor YAML"
        raise ValueError(
            f"`stats` must be a file of `unmask vision-stats`, but {path} cannot be read: {reason}."
        ) from error
    content = content if isinstance(content, dict) else {}
    percentiles = content.get("percentiles")
    percentiles = percentiles if isinstance(percentiles, dict) else {}
    percentiles = {str(key): row for key, row in percentiles.items()}
    needed = ("mean", "std") if kind == "mean-std" else (str(LOW), str(HIGH))
    for name in needed:
        row = (content if kind == "mean-std" else percentiles).get(name)
        numbers = isinstance(row, list) and all(isinstance(one, int | float) and np.isfinite(one) for one in row)
        if row is None or not numbers or len(row) != channels:
            what = name if kind == "mean-std" else f"percentile {name}"
            raise ValueError(
                f"`stats` must hold {channels} numbers as {what}, one per channel, but {path} has "
                f"{'none' if row is None else row}."
            )
    return content | {"percentiles": percentiles}


class BandStats:
    """Measures of each band, image after image: exact but for percentiles, which are taken of evenly spread values.

    Args:
        num_images: that will come, which says how many values of each are kept.
    """

    def __init__(self, num_images: int) -> None:
        self.num_images = 0
        self._per_image = max(NUM_KEPT // max(num_images, 1), 1)
        self._kept: list[list[np.ndarray]] = []
        self._moments: np.ndarray | None = None  # [5, C]: count, mean, sum of squared differences, least, greatest
        self._missing: np.ndarray | None = None

    def see(self, image: Tensor) -> None:
        """Takes numbers ``[C, H, W]``, NaN standing for no data."""
        rows = image.flatten(1).double().numpy()
        if self._moments is None:
            empty = np.zeros(len(rows))
            self._moments = np.stack([empty, empty, empty, empty + np.inf, empty - np.inf])
            self._missing = np.zeros(len(rows), np.int64)
            self._kept = [[] for _ in rows]
        assert self._missing is not None
        self.num_images += 1
        for band, row in enumerate(rows):
            known = row[~np.isnan(row)]
            self._missing[band] += row.size - known.size
            if known.size:
                self._add(band, known)

    def result(self) -> dict[str, Any]:
        """Lists with a number for each band, in the files' own units.

        Raises:
            ValueError: a band without any data.
        """
        if self._moments is None:
            raise ValueError("There must be an image to measure, but there is none.")
        count, mean, squares, least, greatest = self._moments
        if not count.all():
            raise ValueError(f"There must be data in each band, but there is none in band {int(count.argmin()) + 1}.")
        assert self._missing is not None
        quantiles = [np.percentile(np.concatenate(kept), PERCENTILES) for kept in self._kept]
        return {
            "mean": mean.tolist(),
            "std": np.sqrt(squares / count).tolist(),
            "min": least.tolist(),
            "max": greatest.tolist(),
            "percentiles": {str(one): [row[place] for row in quantiles] for place, one in enumerate(PERCENTILES)},
            "nodata_ratio": (self._missing / (self._missing + count)).tolist(),
            "num_images": self.num_images,
        }

    def _add(self, band: int, values: np.ndarray) -> None:
        assert self._moments is not None
        own = self._moments[:, band]
        mean, total = values.mean(), own[0] + values.size
        shift = mean - own[1]
        own[2] += np.square(values - mean).sum() + shift**2 * own[0] * values.size / total
        own[1] += shift * values.size / total
        own[0] = total
        own[3], own[4] = min(own[3], values.min()), max(own[4], values.max())
        step = max(values.size // self._per_image, 1)
        self._kept[band].append(values[step // 2 :: step][: self._per_image].astype(np.float32))


def as_json(stats: Mapping[str, Any]) -> bytes:
    """Of six digits, which is more than any data set is known to."""

    def rounded(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: rounded(one) for name, one in value.items()}
        if isinstance(value, list):
            return [rounded(one) for one in value]
        return float(f"{value:.6g}") if isinstance(value, float) else value

    return (json.dumps(rounded(stats), indent=2) + "\n").encode()
