"""Counting more distinct keys than memory holds: sorted runs on disk, merged by range of keys."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

PARTITIONS = 64
"""Ranges of keys that are merged one at a time."""


class Counts(NamedTuple):
    """Distinct keys in rising order.

    Args:
        key: int64.
        times: int64, how often each was counted.
        first: int64, the least value of ``where`` that came with the key.
    """

    key: np.ndarray
    times: np.ndarray
    first: np.ndarray


class Counter:
    """Counts int64 keys exactly; used as a context, in whose end its files are removed.

    Args:
        limit: distinct keys kept in memory, about; 24 bytes each.
    """

    def __init__(self, limit: int = 4_000_000) -> None:
        self.limit = limit
        self._runs: list[Counts] = []
        self._size = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, key: np.ndarray, where: np.ndarray | None = None) -> None:
        """Count keys ``[n]``; ``where`` ``[n]`` says where each was found."""
        distinct, first, count = np.unique(key, return_index=True, return_counts=True)
        # `unique` gives each key's first place among those given, and these come in rising order.
        self._runs.append(Counts(distinct, count, np.zeros_like(distinct) if where is None else where[first]))
        self._size += len(distinct)
        if self._size > self.limit:
            merged = _merged(self._runs)
            self._runs, self._size = [merged], len(merged.key)
            if self._size > self.limit // 2:
                self._spill(merged)

    def frequent(self, least: int) -> Counts:
        """The keys counted at least ``least`` times."""
        parts = [Counts(*(column[part.times >= least] for column in part)) for part in self._merged_parts()]
        return Counts(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _spill(self, run: Counts) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="unmask-count-")
        bounds = np.searchsorted(run.key, _EDGES)
        for part, (start, end) in enumerate(pairwise(bounds)):
            with (Path(self._folder.name) / str(part)).open("ab") as file:
                file.write(np.stack([column[start:end] for column in run], axis=1).astype(np.int64).tobytes())
        self._runs, self._size = [], 0

    def _merged_parts(self) -> Iterator[Counts]:
        if self._folder is None:
            yield _merged(self._runs)
            return
        if self._runs:
            self._spill(_merged(self._runs))
        for part in range(PARTITIONS):
            rows = np.fromfile(Path(self._folder.name) / str(part), np.int64).reshape(-1, 3)
            yield _merged([Counts(*rows.T)])


def _merged(runs: list[Counts]) -> Counts:
    if not runs:
        return Counts(*(np.empty(0, np.int64) for _ in range(3)))
    key, count, first = (np.concatenate(columns) for columns in zip(*runs, strict=True))
    distinct, owner = np.unique(key, return_inverse=True)
    total = np.zeros(len(distinct), np.int64)
    np.add.at(total, owner, count)
    least = np.full(len(distinct), np.iinfo(np.int64).max)
    np.minimum.at(least, owner, first)
    return Counts(distinct, total, least)


_WIDTH = 2**64 // PARTITIONS
_EDGES = np.array([-(2**63) + part * _WIDTH for part in range(PARTITIONS)] + [2**63 - 1], dtype=np.int64)
