"""The order of samples that lie in shards: one window of shards after the other, so that few are needed at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple
from zlib import crc32

import torch
from torch import Tensor


class Nearby(NamedTuple):
    """Which samples lie together.

    Args:
        shard: number of each sample's shard ``[n]``, int64, from 0.
        window: shards whose samples are mixed, at least 1.
        fetch: is told of shards that will be read next.
    """

    shard: Tensor
    window: int
    fetch: Callable[[list[int]], None]

    @property
    def mark(self) -> int:
        """Tells orders apart: 0 where one window holds all shards, else a number of the shards and the window."""
        if not len(self.shard) or int(self.shard.max()) < self.window:
            return 0
        return crc32(self.shard.numpy().tobytes(), self.window)

    def ordered(self, order: Tensor, rng: torch.Generator) -> Tensor:
        """``order`` by windows: shards in a random order, samples of a window in that of ``order``.

        Where one window holds all shards, ``order`` itself: as if the samples lay anywhere else. It depends on what is
        given alone, not on the number of devices.

        Args:
            order: of all samples ``[n]``, int64.
            rng: draws the order of shards.
        """
        count = int(self.shard.max()) + 1 if len(self.shard) else 0
        place = torch.empty(count, dtype=torch.int64)
        place[torch.randperm(count, generator=rng)] = torch.arange(count)
        return order[(place // self.window)[self.shard[order]].argsort(stable=True)]

    def ahead(self, order: Tensor) -> Iterator[tuple[int, list[int]]]:
        """Where in ``order`` another window begins, and which shards to fetch there: its own, and those of the next."""
        shards = list(dict.fromkeys(self.shard[order].tolist()))
        position = {shard: number for number, shard in enumerate(shards)}
        number = torch.tensor([position[shard] for shard in self.shard[order].tolist()]) // self.window
        begins = (number.diff(prepend=torch.tensor([-1])) > 0).nonzero()[:, 0].tolist()
        for place, begin in enumerate(begins):
            yield begin, shards[place * self.window : (place + 2) * self.window]
