"""The index beside shards: what each sample is and where it lies, so that a run's start reads no sample.

It is one JSON file, ``shards.json``, whose columns have an entry for each sample of a shard. Nothing that it says is
believed before it is checked: it may come from anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from unmask.data.shards.doubts import wrong_index, wrong_shard

INDEX = "shards.json"
"""Name of the index."""
FORMAT = "unmask-shards-1"
MOST_INDEX = 2**32
"""Bytes of an index that is read."""


class ShardError(ValueError):
    """Shards that cannot be read: the message names the shard or the index. It ends a run, in one line."""


@dataclass
class Shard:
    """One tar file, and what lies in it. Columns have an entry for each sample.

    Args:
        file: its name; it lies beside the index.
        bytes: its size.
        digest: blake2b of all of it, 16 bytes, in hexadecimal.
        names: what a report calls each sample.
        offsets: where the content of each begins, in bytes.
        sizes: of the contents, in bytes.
        crcs: CRC-32 of the contents.
        endings: of the contents' names, without the first dot, such as ``jpg``.
        labels: as an `Item` has them, arrays as lists; None: no label.
        dtype: of labels that are arrays; None: they are none.
        groups: further words by name; None where a sample has no such word.
        facts: what the data module found out about each, by name.
    """

    file: str
    bytes: int = 0
    digest: str = ""
    names: list[str] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    crcs: list[int] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    dtype: str | None = None
    groups: dict[str, list[str | None]] = field(default_factory=dict)
    facts: dict[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def label(self, place: int) -> Any:
        """Of a sample, as an `Item` has it."""
        label = self.labels[place]
        if self.dtype is None or label is None:
            return label
        return np.array([np.nan if one is None else one for one in label], dtype=self.dtype)

    def of(self, columns: Mapping[str, Sequence[Any]], place: int) -> dict[str, Any]:
        """What ``groups`` or ``facts`` say of a sample."""
        return {name: column[place] for name, column in columns.items() if column[place] is not None}


@dataclass
class Index:
    """All shards of a data set.

    Args:
        of: what a sample is, in the words of its data module: ``image``, ``sound``.
        parts: shards by part: ``train``; ``val`` and others where there are any.
        classes: names of labels 0, 1, 2, ...
        about: a sentence on the labels, for the report.
        options: what a data module must know to read them.
        left_out: what findings say of samples that were left out: a count and the first names, by sentence.
        fingerprint: of what they were made of.
    """

    of: str
    parts: dict[str, list[Shard]]
    classes: list[str] = field(default_factory=list)
    about: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, list] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def shards(self) -> list[Shard]:
        """Those of all parts, one after the other."""
        return [shard for part in self.parts.values() for shard in part]

    def text(self) -> str:
        """The file's content."""
        return json.dumps({"format": FORMAT, **asdict(self)}, separators=(",", ":"), ensure_ascii=False) + "\n"


def read_index(text: str | bytes, where: str) -> Index:
    """What an index says, checked.

    Args:
        text: its content.
        where: it lies, for messages.

    Raises:
        ShardError: it is no such file, or what it says cannot be.
    """
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ShardError(f"The index {where} must be JSON, but is not: {str(error).splitlines()[0]}.") from error
    if not isinstance(plain, dict) or plain.pop("format", None) != FORMAT:
        raise ShardError(f"The index {where} must be of the format {FORMAT}, but is not.")
    wrong = next(wrong_index(plain), None)
    if wrong:
        raise ShardError(f"The index {where} cannot be right: {wrong}.")
    parts = {name: [Shard(**shard) for shard in shards] for name, shards in plain.pop("parts").items()}
    return Index(parts=parts, **plain)


def shard_of(plain: Any) -> Shard:
    """A shard from what JSON has of it, checked.

    Raises:
        ShardError: what it says cannot be.
    """
    wrong = next(wrong_shard(plain), None)
    if wrong:
        raise ShardError(f"A shard's record cannot be right: {wrong}.")
    return Shard(**plain)
