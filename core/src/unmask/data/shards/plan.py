"""What is to be written to shards: samples by part, and what they are made of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from unmask.data.shards.packing import Packed
from unmask.data.sources import Item
from unmask.support.remembered import as_config


class Entry(NamedTuple):
    """A sample to be written.

    Args:
        name: what a report calls it.
        pack: gives its content, or raises `Unreadable` or OSError: then it is left out, and named.
        label: as an `Item` has it.
        groups: likewise.
    """

    name: str
    pack: Callable[[], Packed]
    label: Any = None
    groups: Mapping[str, str] = {}


@dataclass
class Plan:
    """What is to be written.

    Args:
        of: what a sample is, in the words of its data module.
        parts: by name, the samples from the n-th on; and how many there are, 0 where that is not known.
        fingerprint: of all that they are made of: shards of another one are not mixed with these.
        classes: names of labels.
        about: a sentence on the labels.
        options: what a data module must know to read them.
        told: what to say of the data once all of it is read.
    """

    of: str
    parts: Mapping[str, tuple[Callable[[int], Iterator[Entry]], int]]
    fingerprint: str
    classes: Sequence[str] = ()
    about: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    told: Callable[[], str] = str


def fingerprint(module: Any, shuffle: bool, parts: Sequence[Sequence[Item]] = (), *others: Any) -> str:
    """Of a data module's options, and of all items: their names, and sizes and times of files.

    Args:
        module: the data module.
        shuffle: whether samples are written in a random order.
        parts: all items.
        others: what else decides, as JSON has it.
    """
    options = re.sub(r" at 0x[0-9a-f]+", "", json.dumps([as_config(module), shuffle, *others], default=repr))
    made_of = hashlib.blake2b(options.encode(), digest_size=16)
    for items in parts:
        for item in items:
            file = item.content if isinstance(item.content, Path) else None
            state = file.stat() if file is not None and file.is_file() else None
            told = [item.name, repr(item.label), state and [state.st_size, state.st_mtime_ns]]
            made_of.update(json.dumps(told).encode())
        made_of.update(b"\n")
    return made_of.hexdigest()
