"""Chunks that ``litdata.optimize`` has written: their index, and the values of their columns, never unpickled.

A chunk is a number of items ``n``, ``[n + 1]`` places where items begin and end, and the items: a size of each column,
then the columns. All of these numbers are little-endian and of 32 bits. Where all columns are plain values, newer
versions leave items empty, and rows of Arrow follow.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

from unmask.data.shards.arrow_rows import arrow_value
from unmask.data.shards.index import Shard, ShardError
from unmask.data.shards.packing import Contents
from unmask.data.shards.store import ShardStore
from unmask.data.sources import Unreadable

CHUNK_INDEX = "index.json"
FILES = ("jpeg", "image", "tifffile", "audio", "file", "bytes")
"""Formats of columns that hold the bytes of a file."""
WORDS, NUMBERS, ARRAYS = ("int", "bool", "str", "text"), ("float",), ("no_header_numpy", "no_header_tensor")
VALUES = {
    "int": "IntegerSerializer",
    "bool": "BooleanSerializer",
    "str": "StringSerializer",
    "text": "TextSerializer",
    "float": "FloatSerializer",
    "pil": "PILSerializer",
    "numpy": "NumpySerializer",
    "tensor": "TensorSerializer",
    "no_header_numpy": "NoHeaderNumpySerializer",
    "no_header_tensor": "NoHeaderTensorSerializer",
}
"""LitData's class for values of other formats; those that may be pickled are not among them."""
MOST_BYTES = 2**32 - 1
"""Of a chunk, whose places are of 32 bits."""
_FILE = re.compile(r"[^./\\\0][^/\\\0]{0,200}\.bin")


class Chunks(NamedTuple):
    """What an index of chunks says.

    Args:
        shards: the chunks, with the names of their items.
        columns: format of each column, by name: keys of a dict, numbers of a tuple; those inside of others have a dot.
        mark: of the index, which tells chunks of other ones apart.
    """

    shards: list[Shard]
    columns: dict[str, str]
    mark: str


@dataclass
class Column:
    """Reads the values of a column. Loading processes get a copy of it.

    Args:
        store: reads chunks.
        name: of the column.
        place: of the column among all.
        of: how many columns there are.
        format: LitData's name of what it holds, such as ``jpeg`` or ``no_header_numpy:3``.
    """

    store: ShardStore
    name: str
    place: int
    of: int
    format: str
    _values: Any = field(default=None, repr=False)

    def read(self, shard: Shard, item: int) -> Any:
        """A value; that of files as `Contents`.

        Raises:
            Unreadable: the item is damaged.
            ShardError: the chunk is missing or ends too early.
        """
        kind, _, more = self.format.partition(":")
        content = self._content(shard, item)
        if content is None:
            content = arrow_value(self.store.mapped(shard), self.name, item)
            if kind not in FILES:
                return content
            if not isinstance(content, bytes):
                raise Unreadable("it holds no bytes")
        if kind in FILES:
            return Contents(content, f".{more.lower()}" if more.isalnum() else "")
        if self._values is None:
            from litdata.streaming import serializers

            self._values = getattr(serializers, VALUES[kind])()
            self._values.setup(self.format)
        try:
            if kind == "pil":
                _check_image(content)
            return self._values.deserialize(content)
        except Unreadable:
            raise
        except Exception as error:  # damaged bytes raise struct's, NumPy's, torch's and PIL's kinds
            raise Unreadable(f"no {kind}: {str(error).splitlines()[0] if str(error) else error!r}") from error

    def _content(self, shard: Shard, item: int) -> bytes | None:
        """The bytes of a value; None: items are rows of Arrow."""
        begin, end = struct.unpack("<2I", self.store.read(shard, 4 * (1 + item), 8))
        if begin == end:
            return None
        first = begin + 4 * self.of
        if not 4 * (2 + len(shard)) <= begin <= first <= end <= shard.bytes:
            raise Unreadable(f"chunk {shard.file} says that it goes from byte {begin:,} to {end:,}, which cannot be")
        sizes = struct.unpack(f"<{self.of}I", self.store.read(shard, begin, 4 * self.of))
        if first + sum(sizes) != end:
            raise Unreadable(f"chunk {shard.file} says that its columns have {sum(sizes):,} of {end - first:,} bytes")
        return self.store.read(shard, first + sum(sizes[: self.place]), sizes[self.place])


def _check_image(content: bytes) -> None:
    """Refuses a header whose pixels are not there, before memory is taken for them."""
    width, height, _ = struct.unpack_from("<3I", content)
    if width * height > 8 * len(content):  # an image of one bit has 8 pixels in a byte
        raise Unreadable(f"its header says {width:,} x {height:,} pixels, which its {len(content):,} bytes are not")


def read_chunks(text: bytes, where: str) -> Chunks:
    """What LitData's ``index.json`` says, checked.

    Args:
        text: its content.
        where: it lies, for messages.

    Raises:
        ShardError: it is no such file, what it says cannot be, or chunks are compressed or encrypted.
    """
    try:
        plain = json.loads(text)
        wrong = next(_wrong(plain), None)
        columns = [] if wrong else list(_names(json.loads(plain["config"]["data_spec"])[1]))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise ShardError(
            f"The index {where} must be JSON as `litdata.optimize` writes it, but is not: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}."
        ) from error
    formats = [] if wrong else plain["config"]["data_format"]
    if not wrong and (len(columns) != len(formats) or len(set(columns)) != len(columns)):
        wrong = f"it has {len(set(columns))} columns, but formats of {len(formats)}"
    if wrong:
        raise ShardError(f"The index {where} cannot be right: {wrong}.")
    for option in ("compression", "ipc_compression", "encryption"):
        if plain["config"].get(option):
            raise ShardError(
                f"Chunks must be written without {option}, but those of {where} are not; "
                f"leave `{option.removeprefix('ipc_')}` out of `litdata.optimize`."
            )
    loader = plain["config"].get("item_loader") or "PyTreeLoader"
    if loader != "PyTreeLoader" or plain["config"].get("format"):
        raise ShardError(
            f"Chunks must be of LitData's PyTreeLoader, but those of {where} are of another: {loader!s:.50}."
        )
    shards, begin = [], 0
    for chunk in plain["chunks"]:
        names = [f"row {begin + number}" for number in range(chunk["chunk_size"])]
        shards.append(Shard(chunk["filename"], chunk["chunk_bytes"], names=names))
        begin += len(names)
    return Chunks(shards, dict(zip(columns, formats, strict=True)), f"{crc32(text):08x}")


def _names(spec: Any, within: str = "") -> Iterator[str]:
    """Of all columns; the types that a specification names are not looked for."""
    if spec["type"] is None:
        yield within or "0"
        return
    keys = json.loads(spec["context"]) if str(spec["type"]).endswith((".dict", ".OrderedDict")) else None
    keys = range(len(spec["children_spec"])) if not isinstance(keys, list) else keys
    for key, child in zip(keys, spec["children_spec"], strict=True):
        yield from _names(child, f"{within}.{key}" if within else str(key))


def _wrong(plain: Any) -> Iterator[str]:
    """What cannot be in an index."""
    config, chunks = plain["config"], plain["chunks"]
    formats = config["data_format"]
    if not isinstance(formats, list) or not formats or not all(isinstance(one, str) for one in formats):
        yield "`data_format` is no list of names"
        return
    if not isinstance(chunks, list) or not chunks:
        yield "it has no chunks"
        return
    seen: set[str] = set()
    for chunk in chunks:
        file, size, count = chunk["filename"], chunk["chunk_bytes"], chunk["chunk_size"]
        if not isinstance(file, str) or not _FILE.fullmatch(file):
            yield f"a chunk must be called by a plain name that ends in .bin, but is called {str(file)[:80]!r}"
        elif file in seen:
            yield f"chunk {file} is there twice"
        elif type(size) is not int or not 0 < size <= MOST_BYTES:
            yield f"chunk {file} has {str(size)[:40]} bytes"
        elif type(count) is not int or not 0 < count * 4 * (1 + len(formats)) + 8 <= size:
            yield f"chunk {file} has {str(count)[:40]} items in {size:,} bytes"
        seen.add(str(file))
