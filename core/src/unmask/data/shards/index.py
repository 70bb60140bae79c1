"""The index beside shards: what each sample is and where it lies, so that a run's start reads no sample.

It is one JSON file, ``shards.json``, whose columns have an entry for each sample of a shard. Nothing that it says is
believed before it is checked: it may come from anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

INDEX = "shards.json"
"""Name of the index."""
FORMAT = "unmask-shards-1"
MOST_BYTES = 2**63 - 1
MOST_INDEX = 2**32
"""Bytes of an index that is read."""
_NAME = re.compile(r"[^./\\\0][^/\\\0]{0,200}\.tar")
_ENDING = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,3}")
_COLUMNS = ("names", "offsets", "sizes", "crcs", "endings", "labels")


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
    wrong = next(_wrong(plain), None)
    if wrong:
        raise ShardError(f"The index {where} cannot be right: {wrong}.")
    parts = {name: [Shard(**shard) for shard in shards] for name, shards in plain.pop("parts").items()}
    return Index(parts=parts, **plain)


def shard_of(plain: Any) -> Shard:
    """A shard from what JSON has of it, checked.

    Raises:
        ShardError: what it says cannot be.
    """
    wrong = next(_wrong_shard(plain), None)
    if wrong:
        raise ShardError(f"A shard's record cannot be right: {wrong}.")
    return Shard(**plain)


def _wrong(plain: dict[str, Any]) -> Iterator[str]:
    """What cannot be in an index."""
    kinds: dict[str, type] = {
        "of": str, "parts": dict, "classes": list, "about": str, "options": dict, "left_out": dict, "fingerprint": str,
    }  # fmt: skip
    if set(plain) != set(kinds):
        yield f"it has the entries {sorted(plain)} instead of {sorted(kinds)}"
        return
    for name, kind in kinds.items():
        if not isinstance(plain[name], kind):
            yield f"`{name}` is no {kind.__name__}"
            return
    if not all(isinstance(name, str) for name in plain["classes"]):
        yield "a class is no word"
    for what, counted in plain["left_out"].items():
        if not isinstance(counted, list) or len(counted) != 2 or not _whole(counted[0]):
            yield f"`left_out` of {what!r} is no count with names"
        elif not isinstance(counted[1], list) or not all(isinstance(name, str) for name in counted[1]):
            yield f"`left_out` of {what!r} has no names"
    if "train" not in plain["parts"]:
        yield "it has no part `train`"
    seen: set[str] = set()
    for name, shards in plain["parts"].items():
        if not isinstance(shards, list):
            yield f"part {name!r} is no list of shards"
            return
        for shard in shards:
            yield from _wrong_shard(shard)
            if shard["file"] in seen:
                yield f"shard {shard['file']} is there twice"
            seen.add(shard["file"])
            most = max((one for one in shard["labels"] if isinstance(one, int)), default=-1)
            if plain["classes"] and most >= len(plain["classes"]):
                yield f"shard {shard['file']} has a label {most}, but there are {len(plain['classes'])} classes"


def _wrong_shard(shard: Any) -> Iterator[str]:
    """What cannot be in the record of a shard."""
    known = {one.name for one in fields(Shard)}
    if not isinstance(shard, dict) or set(shard) != known:
        yield f"a shard's entries are not {sorted(known)}"
        return
    file = shard["file"]
    if not isinstance(file, str) or not _NAME.fullmatch(file):
        yield f"a shard must be called by a plain name that ends in .tar, but is called {str(file)[:80]!r}"
        return
    if not _whole(shard["bytes"]) or not isinstance(shard["digest"], str):
        yield f"shard {file} has no size and digest"
        return
    if any(not isinstance(shard[column], list) for column in _COLUMNS):
        yield f"shard {file} has a column that is no list"
        return
    counts = {len(shard[column]) for column in _COLUMNS}
    for columns in (shard["groups"], shard["facts"]):
        if not isinstance(columns, dict) or not all(isinstance(column, list) for column in columns.values()):
            yield f"shard {file} has columns that are no lists"
            return
        counts |= {len(column) for column in columns.values()}
    if len(counts) != 1:
        yield f"the columns of shard {file} are of {sorted(counts)} samples"
        return
    for name in ("offsets", "sizes", "crcs"):
        odd = next((one for one in shard[name] if not _whole(one)), None)
        if odd is not None:
            yield f"shard {file} has {odd!r} among its {name}, which must be whole numbers from 0"
            return
    for name, offset, size in zip(shard["names"], shard["offsets"], shard["sizes"], strict=True):
        if offset + size > shard["bytes"]:
            yield f"{str(name)[:80]!r} ends at byte {offset + size:,} of shard {file}, which has {shard['bytes']:,}"
            return
    words = [*shard["names"], *(word for column in shard["groups"].values() for word in column if word is not None)]
    if not all(isinstance(word, str) for word in words):
        yield f"shard {file} has a name or a group that is no word"
    for ending in set(map(str, shard["endings"])):
        if not _ENDING.fullmatch(ending):
            yield f"shard {file} has a content that ends in {ending[:40]!r}"
    if shard["dtype"] is not None and (
        shard["dtype"] not in ("int64", "float32", "float64")
        or not all(one is None or isinstance(one, list) for one in shard["labels"])
    ):
        yield f"shard {file} has labels that are no arrays of {str(shard['dtype'])[:20]}"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_BYTES
