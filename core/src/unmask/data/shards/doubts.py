"""What cannot be in an index: it may come from anywhere, so nothing that it says is believed before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

MOST_BYTES = 2**63 - 1
_NAME = re.compile(r"[^./\\\0][^/\\\0]{0,200}\.tar")
_ENDING = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,3}")
_COLUMNS = ("names", "offsets", "sizes", "crcs", "endings", "labels")
ENTRIES = {*_COLUMNS, "file", "bytes", "digest", "dtype", "groups", "facts"}
"""Of a shard's record."""


def wrong_index(plain: dict[str, Any]) -> Iterator[str]:
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
            yield from wrong_shard(shard)
            if shard["file"] in seen:
                yield f"shard {shard['file']} is there twice"
            seen.add(shard["file"])
            most = max((one for one in shard["labels"] if isinstance(one, int)), default=-1)
            if plain["classes"] and most >= len(plain["classes"]):
                yield f"shard {shard['file']} has a label {most}, but there are {len(plain['classes'])} classes"


def wrong_shard(shard: Any) -> Iterator[str]:
    """What cannot be in the record of a shard."""
    if not isinstance(shard, dict) or set(shard) != ENTRIES:
        yield f"a shard's entries are not {sorted(ENTRIES)}"
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


def wrong_facts(shard: Any, kinds: Mapping[str, tuple[type, ...]]) -> str | None:
    """What the facts of a checked `Shard` cannot be; None: nothing. A shard may have none of them.

    Args:
        shard: the shard.
        kinds: of each fact, by name. An ``int`` is a whole number from 0, a ``list`` one of whole numbers.
    """
    if shard.facts and set(shard.facts) != set(kinds):
        return f"shard {shard.file} has the facts {sorted(shard.facts)} instead of {sorted(kinds)}"
    for name, column in shard.facts.items():
        for place, value in enumerate(column):
            if not any(_is(value, kind) for kind in kinds[name]):
                wanted = " or ".join(kind.__name__ for kind in kinds[name])
                return f"`{name}` of {shard.names[place]!r:.80} must be {wanted}, but is {value!r:.50}"
    return None


def _is(value: Any, kind: type) -> bool:
    if kind is int:
        return _whole(value)
    return isinstance(value, kind) and (not isinstance(value, list) or all(type(one) is int for one in value))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_BYTES
