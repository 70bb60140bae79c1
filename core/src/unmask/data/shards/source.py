"""Shards as a source: items whose content is read from a shard when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from unmask.data.findings import Findings
from unmask.data.shards.doubts import wrong_facts
from unmask.data.shards.index import Index, Shard, ShardError
from unmask.data.shards.order import Nearby
from unmask.data.shards.packing import unpacked
from unmask.data.shards.store import ShardStore
from unmask.data.sources import Found, Item, Source, Unreadable
from unmask.support.checks import at_least

GIGABYTE = 2**30
PARTS = ("train", "val", "probe_train")
"""Parts that items may be of."""


class Stored:
    """Gives the content of a sample. Loading processes get a copy of it.

    Args:
        store: reads shards.
        shard: that it lies in.
        number: of that shard among all of its part.
        place: in the shard.
    """

    __slots__ = ("number", "place", "shard", "store")

    def __init__(self, store: ShardStore, shard: Shard, number: int, place: int) -> None:
        self.store, self.shard, self.number, self.place = store, shard, number, place

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of it without reading it."""
        return self.shard.of(self.shard.facts, self.place)

    def __call__(self) -> Any:
        content = self.store.checked(self.shard, self.place)
        if content is None:
            raise Unreadable(f"its bytes in shard {self.shard.file} are damaged")
        return unpacked(content, self.shard.endings[self.place])


@dataclass
class Shards(Source):
    """What ``unmask shard`` has written: items with the labels, groups and parts that they had where they came from.

    Args:
        shards: a folder, or a URL that fsspec knows (``s3://...``, ``https://...``), from where shards are fetched.
        of: what a sample must be, in the words of its data module; None: whatever it is.
        window: shards whose samples are mixed in an epoch, in a random order of shards; at least 1. Where that is all,
            the order is as if samples lay in a folder.
        cache_folder: for shards that are fetched; None: ``unmask/shards`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
        cache_gb: of fetched shards that are kept, at least twice ``window`` of them; in 2^30 bytes.
        facts: kinds of what the index says of samples, by name, see `MaskedDataModule.facts`.

    Raises:
        ValueError: a value outside its range; in `read`, no shards, or such that cannot be right.
    """

    shards: str
    of: str | None = None
    window: int = 8
    cache_folder: str | None = None
    cache_gb: float = 20.0
    facts: Mapping[str, tuple[type, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least(1, window=self.window)
        if not self.cache_gb > 0:
            raise ValueError(f"`cache_gb` must be above 0, but is {self.cache_gb:g}.")
        self.store = ShardStore(self.shards, self.cache_folder, int(self.cache_gb * GIGABYTE))
        self._index: Index | None = None

    @property
    def index(self) -> Index:
        """What the shards have; read once.

        Raises:
            ShardError: there is none, or it cannot be right, or is of other samples.
        """
        if self._index is None:
            index = self.store.index()
            if self.of is not None and index.of != self.of:
                raise ShardError(f"`shards` must hold {self.of}s, but {self.shards} holds {index.of}s.")
            wrong = (wrong_facts(shard, self.facts) for shard in index.shards)
            if found := next((one for one in wrong if one), None):
                raise ShardError(f"The index of {self.shards} cannot be right: {found}.")
            self.store.check_room(index.shards, self.window)
            self._index = index
        return self._index

    def read(self, findings: Findings) -> Found:
        index = self.index
        findings.add(Findings.of(index.left_out))
        parts = {name: self.items(shards) for name, shards in index.parts.items()}
        unknown = sorted(set(parts) - set(PARTS))
        if unknown:
            raise ShardError(f"`shards` must have the parts {', '.join(PARTS)} alone, but has {unknown[0]!r}.")
        return Found(parts["train"], parts.get("val"), index.classes, index.about, parts.get("probe_train"))

    def items(self, shards: Sequence[Shard]) -> list[Item]:
        """Of a part, in the order of its shards."""
        return [
            Item(name, Stored(self.store, shard, number, place), shard.label(place), shard.of(shard.groups, place))
            for number, shard in enumerate(shards)
            for place, name in enumerate(shard.names)
        ]

    def nearby(self, contents: Sequence[Any]) -> Nearby:
        return lie_together(contents, self.window)


def lie_together(contents: Sequence[Any], window: int) -> Nearby:
    """Which samples lie in the same shard, and how shards are fetched.

    Args:
        contents: of the samples' items `[n]`, at least one: with ``store``, ``shard`` and its ``number``.
        window: shards whose samples are mixed, at least 1.
    """
    store, shards = contents[0].store, torch.tensor([content.number for content in contents])
    part = {content.number: content.shard for content in contents}
    return Nearby(shards, window, lambda numbers: store.fetch_ahead([part[number] for number in numbers]))
