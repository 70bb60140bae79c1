"""Text in shards, which ``unmask shard`` has written: more than a disk holds, in a folder or behind a URL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from unmask.data import Index, Shards
from unmask_text.data.characters import clean
from unmask_text.data.reading import Segment, cut
from unmask_text.data.report import Report
from unmask_text.data.sources import Moved, TextSource
from unmask_text.data.text import TextData


class TextShardsData(TextData):
    """Documents in the shards of a folder or URL.

    Shards are read once, from the first to the last, and cut into tokens, which are kept in ``cache_folder``: 2 bytes
    each, or 4. The text itself need not fit on the disk. Parts and labels are those of the data that the shards were
    made of, and so are batches, bit for bit.

    Args:
        shards: a folder, or a URL that fsspec knows (``s3://...``, ``https://...``), from where shards are fetched.
        shard_cache_folder: for shards that are fetched; None: ``unmask/shards`` in ``$XDG_CACHE_HOME`` or
            ``~/.cache``.
        cache_gb: of fetched shards that are kept, at least two of them; in 2^30 bytes.

    Raises:
        ValueError: in `setup`, no shards, such that cannot be right, or are of something else; also as `TextData`.

    Further arguments are those of `TextData`.
    """

    def __init__(
        self, shards: str, shard_cache_folder: str | None = None, cache_gb: float = 20.0, **shared: Any
    ) -> None:
        super().__init__(source=TextShardsSource(shards, shard_cache_folder, cache_gb), **shared)


@dataclass
class TextShardsSource(TextSource):
    """Those shards; the fields are options of `TextShardsData`."""

    shards: str
    shard_cache_folder: str | None = None
    cache_gb: float = 20.0

    def __post_init__(self) -> None:
        self._shards = Shards(self.shards, TextData.item, 1, self.shard_cache_folder, self.cache_gb, TextData.facts)

    @property
    def index(self) -> Index:
        """What the shards have."""
        return self._shards.index

    def parts(self) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "part": name,
                "shards": [[shard.file, shard.bytes, shard.digest] for shard in shards],
                "options": self.index.options.get(name, {}),
            }
            for name, shards in self.index.parts.items()
        }

    def read(self, part: dict[str, Any], report: Report, moved: Moved) -> Iterator[Segment]:
        shards = self.index.parts[part["part"]]
        for number, shard in enumerate(shards):
            self._shards.store.fetch_ahead(shards[number : number + 2])
            for place, name in enumerate(shard.names):
                content = self._shards.store.checked(shard, place)
                if content is None:
                    report.unreadable(f"{name} in {shard.file}")
                    continue
                facts, text = shard.of(shard.facts, place), content.decode("utf-8", "surrogateescape")
                if "first" in facts:
                    row = facts["row"]
                    yield Segment(clean(text, report), facts["first"], shard.label(place), facts["file"], row)
                else:
                    yield from cut(clean(text, report), shard.label(place), report, name)
            moved((number + 1) / len(shards))
