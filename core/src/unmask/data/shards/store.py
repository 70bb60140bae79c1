"""Where shards lie: in a folder, where they are read in place, or behind a URL.

From a URL whole shards are fetched into a cache of bounded size, which all processes of a machine share.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any
from zlib import crc32

from unmask.data.shards.cache import TRIES, ShardCache
from unmask.data.shards.index import INDEX, MOST_INDEX, Index, Shard, ShardError, read_index

OPEN = 32
"""Files that a process keeps open."""


class ShardStore:
    """Reads the index and the contents of shards, by whatever process.

    Args:
        root: a folder, or a URL that fsspec knows: ``s3://bucket/folder``, ``https://...``; credentials are fsspec's.
        cache_folder: for what is fetched; None: ``unmask/shards`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. A folder is
            read in place.
        cache_bytes: of fetched shards at most; those that were used last are kept.
    """

    def __init__(self, root: str, cache_folder: str | None = None, cache_bytes: int = 20 * 2**30) -> None:
        self.remote = "://" in root and not root.startswith(("file://", "local://"))
        self.root = root.rstrip("/") if self.remote else str(Path(root.partition("://")[2] or root).expanduser())
        default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "unmask", "shards")
        folder = default if cache_folder is None else Path(cache_folder).expanduser()
        self.cache = ShardCache(self.root, folder, cache_bytes) if self.remote else None
        self._begin()

    def _begin(self) -> None:
        """What each process has for itself."""
        self._pid = os.getpid()
        self._files: OrderedDict[str, int] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("remote", "root", "cache")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def index(self) -> Index:
        """The index; shards in a folder must be there in their size.

        Raises:
            ShardError: there is none, it cannot be right, or a shard is missing or of another size.
        """
        where = f"{self.root}/{INDEX}"
        if self.cache is not None:
            return read_index(self.cache.index(), where)
        folder = Path(self.root)
        if not folder.is_dir():
            raise ShardError(f"`shards` must be a folder or a URL of shards, but there is no folder {self.root}.")
        if not (folder / INDEX).is_file():
            tars = sorted(path.name for path in folder.glob("*.tar*"))
            if not tars:
                raise ShardError(f"`shards` must be a folder of shards, but {self.root} has no {INDEX}.")
            raise ShardError(
                f"`shards` must be a folder with a {INDEX}, but {self.root} has tar files alone, such as {tars[0]}; "
                f"write one by `unmask shard --index {self.root}`."
            )
        if (folder / INDEX).stat().st_size > MOST_INDEX:
            raise ShardError(f"The index {where} must have at most {MOST_INDEX:,} bytes.")
        index = read_index((folder / INDEX).read_bytes(), where)
        self.check_sizes(index.shards)
        return index

    def check_sizes(self, shards: Sequence[Shard]) -> None:
        """Refuses a folder whose shards are not as the index says.

        Raises:
            ShardError: a shard is missing or of another size.
        """
        for shard in shards:
            path = Path(self.root, shard.file)
            if not path.is_file():
                raise ShardError(f"Shard {path} is missing.")
            if path.stat().st_size != shard.bytes:
                raise ShardError(
                    f"Shard {path} must have {shard.bytes:,} bytes, but has {path.stat().st_size:,}: it is damaged, or "
                    "the index is of another one."
                )

    def check_room(self, shards: Sequence[Shard], window: int) -> None:
        """Refuses a cache that does not hold two windows of the largest shards: each read would fetch one again.

        Raises:
            ShardError: it is so small.
        """
        sizes = sorted((shard.bytes for shard in shards), reverse=True)
        least = sum(sizes[: 2 * window])
        if self.cache is not None and self.cache.most_bytes < least:
            raise ShardError(
                f"`cache_gb` must be at least {least / 2**30:.3g}, twice {window} shards (`window`), but is "
                f"{self.cache.most_bytes / 2**30:.3g}; lower `window`, or write smaller shards."
            )

    def read(self, shard: Shard, offset: int, size: int) -> bytes:
        """A stretch of a shard.

        Raises:
            ShardError: the shard is missing or ends before.
        """
        content = os.pread(self._opened(shard), size, offset)  # needs no place of its own, so processes may share files
        while len(content) < size:
            more = os.pread(self._opened(shard), size - len(content), offset + len(content))
            if not more:
                raise ShardError(f"Shard {self.root}/{shard.file} ends before byte {offset + size:,}: it is damaged.")
            content += more
        return content

    def mapped(self, shard: Shard) -> mmap:
        """All of a shard, read from the disk where it is asked for.

        Raises:
            ShardError: the shard is missing.
        """
        return mmap(self._opened(shard), 0, access=ACCESS_READ)

    def checked(self, shard: Shard, place: int) -> bytes | None:
        """The content of a sample; None: it is damaged."""
        content = self.read(shard, shard.offsets[place], shard.sizes[place])
        return content if crc32(content) == shard.crcs[place] else None

    def fetch_ahead(self, shards: list[Shard]) -> None:
        """Fetches shards in the background, where they are not here."""
        if self.cache is not None:
            self.cache.fetch_ahead(shards)

    def path(self, shard: Shard) -> Path:
        """Where a shard lies on this machine, fetched if need be.

        Raises:
            ShardError: it is missing, damaged, or cannot be fetched.
        """
        if self.cache is not None:
            return self.cache.path(shard)
        if not Path(self.root, shard.file).is_file():
            raise ShardError(f"Shard {self.root}/{shard.file} is missing.")
        return Path(self.root, shard.file)

    def _opened(self, shard: Shard) -> int:
        """A file handle, of few that are kept open."""
        if self._pid != os.getpid():  # after a fork, files of the parent are left alone
            self._begin()
        if shard.file in self._files:
            self._files.move_to_end(shard.file)
            return self._files[shard.file]
        for file, handle in list(self._files.items()):
            if len(self._files) >= OPEN or not os.fstat(handle).st_nlink:  # a dropped file takes its room while open
                os.close(self._files.pop(file))
        for _ in range(TRIES):
            try:
                self._files[shard.file] = os.open(self.path(shard), os.O_RDONLY)
            except FileNotFoundError:  # the cache dropped it meanwhile
                continue
            return self._files[shard.file]
        raise ShardError(f"Shard {self.root}/{shard.file} is dropped again and again; `cache_gb` is too small for it.")
