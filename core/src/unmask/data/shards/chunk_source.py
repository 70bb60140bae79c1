"""Chunks of LitData as a source: one column of files, one of labels, one of groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from unmask.data.findings import Findings
from unmask.data.labels import check_single, one_label
from unmask.data.shards.chunks import ARRAYS, CHUNK_INDEX, FILES, NUMBERS, WORDS, Chunks, Column, read_chunks
from unmask.data.shards.index import MOST_INDEX, Shard, ShardError
from unmask.data.shards.order import Nearby
from unmask.data.shards.source import GIGABYTE, lie_together
from unmask.data.shards.store import ShardStore
from unmask.data.sources import Found, Item, Source, Unreadable
from unmask.support.checks import at_least
from unmask.support.nearest import nearest

PICKLES = ("pickle", "graph")
"""Formats that LitData may unpickle."""
PICKLED = "columns may be pickled, and are never read"
FAR_LABEL = "columns are called like labels, and are read from a URL only where `label_column` names them"


class InChunk:
    """Gives the content of an item. Loading processes get a copy of it.

    Args:
        column: of contents.
        shard: the chunk that it lies in.
        number: of that chunk among all of its part.
        place: in the chunk.
    """

    __slots__ = ("column", "number", "place", "shard")

    def __init__(self, column: Column, shard: Shard, number: int, place: int) -> None:
        self.column, self.shard, self.number, self.place = column, shard, number, place

    @property
    def store(self) -> ShardStore:
        """Reads the chunk."""
        return self.column.store

    def __call__(self) -> Any:
        return self.column.read(self.shard, self.place)


@dataclass
class LitChunks(Source):
    """What ``litdata.optimize`` has written, read in place or fetched chunk by chunk.

    Chunks are kept by the cache of shards, for LitData's own drops a chunk as soon as an item of another one is read,
    which windows do all the time. Nothing is unpickled: a column that may be is not read, or refused.

    Args:
        path: a folder, or a URL that fsspec knows.
        val_path: likewise, to validate and score on; None: the data module holds out a part of ``path``.
        column: of contents; None: the first of ``kinds``, else the only one of files.
        label_column: of whole numbers, words (classes), real numbers, or arrays of either; None: ``label`` or
            ``labels``, if there is one and ``path`` is a folder: of a URL it would ask for every chunk.
        group_column: of words or whole numbers, which become a group of the item; None: none does.
        kinds: formats that `column` likely has.
        takes: formats that it may have.
        item: what an item is, in a message.
        option: what ``column`` is called there, such as ``image_column``.
        needed_by: the registered name of the data module, in a message.
        window: chunks whose items are mixed in an epoch, at least 1.
        cache_folder: for chunks that are fetched; None: ``unmask/shards`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
        cache_gb: of fetched chunks that are kept, at least twice ``window`` of them; in 2^30 bytes.

    Raises:
        ValueError: a value outside its range; in `read`, no such chunks or columns, or `litdata` is not installed.
    """

    path: str
    val_path: str | None = None
    column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    kinds: tuple[str, ...] = FILES
    takes: tuple[str, ...] = FILES
    item: str = "item"
    option: str = "column"
    needed_by: str = "unmask.data.LitChunks"
    window: int = 8
    cache_folder: str | None = None
    cache_gb: float = 20.0

    def __post_init__(self) -> None:
        at_least(1, window=self.window)
        if not self.cache_gb > 0:
            raise ValueError(f"`cache_gb` must be above 0, but is {self.cache_gb:g}.")

    def read(self, findings: Findings) -> Found:
        if find_spec("litdata") is None:
            raise ValueError(f"`{self.needed_by}` needs the package `litdata`: pip install litdata.")
        parts = [self._opened(path) for path in (self.path, self.val_path) if path is not None]
        for _, chunks in parts[1:]:
            if chunks.columns != parts[0][1].columns:
                raise ShardError(
                    f"`val_path` must have the columns of `path`, {_told(parts[0][1].columns)}, but has "
                    f"{_told(chunks.columns)}."
                )
        store, (_, columns, _) = parts[0]
        for name, kind in columns.items():
            findings.note(PICKLED, f"{name} ({kind})", int(not _is_read(kind)))
        column, label = self._column(columns), self._label(columns, store, findings)
        if self.group_column is not None:
            self._check("group_column", self.group_column, columns, WORDS)
        every = [
            self._items(*part, column, self._values(*part, label), self._values(*part, self.group_column))
            for part in parts
        ]
        words = list(dict.fromkeys(item.label for items in every for item in items if isinstance(item.label, str)))
        check_single(words, f"`label_column` {label!r}", findings, self.item)
        return Found.of(every)

    def nearby(self, contents: Sequence[Any]) -> Nearby:
        return lie_together(contents, self.window)

    def _opened(self, path: str) -> tuple[ShardStore, Chunks]:
        """Where chunks lie, and what their index says; chunks in a folder must be there in their size."""
        store = ShardStore(path, self.cache_folder, int(self.cache_gb * GIGABYTE))
        where = f"{store.root}/{CHUNK_INDEX}"
        if store.cache is not None:
            chunks = read_chunks(store.cache.index(CHUNK_INDEX), where)
            store.cache.mark = chunks.mark
        else:
            file = Path(where)
            if not file.is_file():
                raise ShardError(
                    f"`path` must be a folder that `litdata.optimize` has written, but there is no {file}."
                )
            if file.stat().st_size > MOST_INDEX:
                raise ShardError(f"The index {where} must have at most {MOST_INDEX:,} bytes.")
            chunks = read_chunks(file.read_bytes(), where)
            store.check_sizes(chunks.shards)
        store.check_room(chunks.shards, self.window)
        return store, chunks

    def _column(self, columns: dict[str, str]) -> str:
        if self.column is not None:
            self._check(self.option, self.column, columns, self.takes)
            return self.column
        likely = [name for name, kind in columns.items() if _kind(kind) in self.kinds]
        files = [name for name, kind in columns.items() if _kind(kind) in FILES]
        if not likely and len(files) != 1:
            raise ShardError(f"`{self.option}` must name a column of {self.item}s; there are {_told(columns)}.")
        return (likely or files)[0]

    def _label(self, columns: dict[str, str], store: ShardStore, findings: Findings) -> str | None:
        takes = (*WORDS, *NUMBERS, *ARRAYS)
        if self.label_column is not None:
            self._check("label_column", self.label_column, columns, takes)
            return self.label_column
        likely = [name for name in ("label", "labels") if _kind(columns.get(name, "")) in takes]
        if likely and store.remote:
            findings.note(FAR_LABEL, likely[0])
            return None
        return likely[0] if likely else None

    def _check(self, option: str, name: str, columns: dict[str, str], takes: tuple[str, ...]) -> None:
        """Refuses a column that is not there, that may be pickled, or that holds something else."""
        if name not in columns:
            near = nearest(name, columns, 1) or list(columns)
            raise ShardError(f"`{option}` must name a column, but is {name!r}; nearest: {', '.join(near)}.")
        kind = columns[name]
        if not _is_read(kind):
            raise ShardError(
                f"`{option}` must name a column that is not pickled, since a pickle can run any code, but {name!r} is "
                f"written as {kind}; write Python's own numbers and words, arrays, or files."
            )
        if _kind(kind) not in takes:
            raise ShardError(f"`{option}` must name a column of {', '.join(takes)}, but {name!r} is one of {kind}.")

    def _values(self, store: ShardStore, chunks: Chunks, name: str | None) -> list[Any]:
        """All values of a column as labels; None where it is empty, or there is no column."""
        if name is None:
            return [None] * sum(map(len, chunks.shards))
        column = _column(store, chunks, name)
        kind = _kind(column.format)
        told: Callable[[Any], Any] = _word if kind in WORDS else _number if kind in NUMBERS else _array
        try:
            values = [told(column.read(shard, place)) for shard in chunks.shards for place in range(len(shard))]
        except Unreadable as error:
            raise ShardError(f"Column {name!r} of {store.root} cannot be read: {error}.") from error
        shapes = {value.shape for value in values if isinstance(value, np.ndarray)}
        if len(shapes) > 1:
            raise ShardError(
                f"Arrays in column {name!r} of {store.root} must have one length, but have {shapes!s:.80}."
            )
        return values

    def _items(self, store: ShardStore, chunks: Chunks, name: str, labels: list[Any], groups: list[Any]) -> list[Item]:
        column = _column(store, chunks, name)
        places = ((number, place) for number, shard in enumerate(chunks.shards) for place in range(len(shard)))
        return [
            Item(
                chunks.shards[number].names[place],
                InChunk(column, chunks.shards[number], number, place),
                label,
                {} if self.group_column is None or group is None else {self.group_column: group},
            )
            for (number, place), label, group in zip(places, labels, groups, strict=True)
        ]


def _column(store: ShardStore, chunks: Chunks, name: str) -> Column:
    return Column(store, name, list(chunks.columns).index(name), len(chunks.columns), chunks.columns[name])


def _kind(written: str) -> str:
    return written.partition(":")[0]


def _is_read(written: str) -> bool:
    return _kind(written) not in PICKLES


def _told(columns: dict[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in columns.items())


def _word(value: Any) -> str | None:
    return one_label(value, "`label_column`")


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _array(value: Any) -> np.ndarray:
    """As an `Item` has it: whole numbers for several classes at once, others real."""
    array = np.asarray(value)
    if array.dtype.kind not in "iubf":
        raise Unreadable(f"it holds arrays of {array.dtype}")
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
