"""Where shards lie: in a folder, where they are read in place, or behind a URL.

From a URL whole shards are fetched into a cache of bounded size, which all processes of a machine share.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from filelock import FileLock

from unmask.data.shards.index import INDEX, Index, Shard, ShardError, read_index
from unmask.support.atomic import PART, is_full, remove_parts, written_whole

TRIES = 5
"""Times that something is asked for over the network before it is an error."""
WAIT_S = 0.5
"""Before the second try; each further one waits twice as long."""
PIECE = 2**20
STALE_S = 600
"""A file that nobody has written to for so long is what a killed process left."""
MOST_INDEX = 2**32
"""Bytes of an index that is read."""


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
        self.cache = default if cache_folder is None else Path(cache_folder).expanduser()
        self.cache_bytes = cache_bytes
        self._begin()

    def _begin(self) -> None:
        """What each process has for itself."""
        self._pid = os.getpid()
        self._files: OrderedDict[str, int] = OrderedDict()
        self._system: Any = None
        self._inherited: Any = None
        self._wanted: queue.SimpleQueue[list[Shard]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("remote", "root", "cache", "cache_bytes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def index(self) -> Index:
        """The index; shards in a folder must be there in their size.

        Raises:
            ShardError: there is none, it cannot be right, or a shard is missing or of another size.
        """
        where = f"{self.root}/{INDEX}"
        if self.remote:
            return read_index(self._tried(INDEX, lambda: self._text(where)), where)
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
        for shard in index.shards:
            path = folder / shard.file
            if not path.is_file():
                raise ShardError(f"Shard {path} is missing.")
            if path.stat().st_size != shard.bytes:
                raise ShardError(
                    f"Shard {path} must have {shard.bytes:,} bytes, but has {path.stat().st_size:,}: it is damaged, or "
                    "the index is of another one."
                )
        return index

    def check_room(self, index: Index, window: int) -> None:
        """Refuses a cache that does not hold two windows of the largest shards: each read would fetch one again.

        Raises:
            ShardError: it is so small.
        """
        sizes = sorted((shard.bytes for shard in index.shards), reverse=True)
        least = sum(sizes[: 2 * window])
        if self.remote and self.cache_bytes < least:
            raise ShardError(
                f"`cache_gb` must be at least {least / 2**30:.3g}, twice {window} shards (`window`), but is "
                f"{self.cache_bytes / 2**30:.3g}; lower `window`, or write smaller shards."
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

    def checked(self, shard: Shard, place: int) -> bytes | None:
        """The content of a sample; None: it is damaged."""
        content = self.read(shard, shard.offsets[place], shard.sizes[place])
        return content if crc32(content) == shard.crcs[place] else None

    def fetch_ahead(self, shards: list[Shard]) -> None:
        """Fetches shards in the background, in place of those that were asked for before and have not begun."""
        if not self.remote:
            return
        self._own()
        if self._wanted is None:
            self._wanted = queue.SimpleQueue()
            threading.Thread(target=self._fetch_all, args=(self._wanted,), daemon=True).start()
        self._wanted.put(shards)

    def path(self, shard: Shard) -> Path:
        """Where a shard lies on this machine, fetched if need be.

        Raises:
            ShardError: it is missing, damaged, or cannot be fetched.
        """
        if not self.remote:
            return Path(self.root, shard.file)
        key = hashlib.blake2b(f"{self.root} {shard.digest}".encode(), digest_size=8).hexdigest()
        path = self.cache / f"{key}-{shard.file}"
        with suppress(FileNotFoundError):
            os.utime(path)  # the cache keeps what was used last
            return path
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if not path.is_file():
                    remove_parts(self.cache, path.name)
                    self._tried(shard.file, lambda: self._fetch(shard, path))
        except OSError as error:
            told = "is full" if is_full(error) else f"cannot be written: {error.strerror or error}"
            raise ShardError(f"The cache of shards, {self.cache}, {told}.") from error
        return path

    def _own(self) -> None:
        """After a fork, files and connections of the parent are left alone."""
        if self._pid != os.getpid():
            inherited = self._system
            self._begin()
            self._inherited = inherited  # kept, or it would close the parent's connections, by a loop that does not run

    def _opened(self, shard: Shard) -> int:
        """A file handle, of few that are kept open."""
        self._own()
        if shard.file in self._files:
            self._files.move_to_end(shard.file)
            return self._files[shard.file]
        for _ in range(TRIES):
            try:
                handle = os.open(self.path(shard), os.O_RDONLY)
                break
            except FileNotFoundError:  # the cache dropped it meanwhile
                if not self.remote:
                    break
        else:
            raise ShardError(f"The cache of shards, {self.cache}, is too small for all that reads from it.")
        if not self.remote and not Path(self.root, shard.file).is_file():
            raise ShardError(f"Shard {self.root}/{shard.file} is missing.")
        while len(self._files) >= _OPEN:
            os.close(self._files.popitem(last=False)[1])
        self._files[shard.file] = handle
        return handle

    def _open(self, file: str) -> Any:
        """A file behind the URL; each process has a file system of its own, for they have threads."""
        self._own()
        if self._system is None:
            import fsspec

            try:
                self._system = fsspec.core.url_to_fs(self.root, skip_instance_cache=True)
            except (ImportError, ValueError) as error:
                raise ShardError(f"`shards` must be a URL that fsspec can read, but {self.root}: {error}") from error
        system, base = self._system
        return system.open(f"{base.rstrip('/')}/{file}", "rb")

    def _text(self, where: str) -> bytes:
        with self._open(INDEX) as file:
            text = file.read(MOST_INDEX + 1)
        if len(text) > MOST_INDEX:
            raise ShardError(f"The index {where} must have at most {MOST_INDEX:,} bytes.")
        return text

    def _fetch(self, shard: Shard, path: Path) -> None:
        """A shard into the cache, compared with its digest."""
        with written_whole(path, sync=False) as part:
            with FileLock(self.cache / ".lock"):
                self._make_room(shard.bytes)
                part.touch()
                os.truncate(part, shard.bytes)  # so that others count it
            digest, left = hashlib.blake2b(digest_size=16), shard.bytes
            with self._open(shard.file) as file, part.open("r+b") as own:
                while piece := file.read(min(PIECE, left + 1)):
                    left -= len(piece)
                    if left < 0:
                        break
                    digest.update(piece)
                    own.write(piece)
            if left or digest.hexdigest() != shard.digest:
                raise _Damaged("its checksum is another one than the index says")

    def _make_room(self, wanted: int) -> None:
        """Drops what was used longest ago until ``wanted`` more bytes fit."""
        held = []
        for path in self.cache.iterdir():
            with suppress(FileNotFoundError):
                status = path.stat()
                stale = path.name.endswith(PART) and time.time() - status.st_mtime > STALE_S
                if stale:
                    path.unlink()
                elif path.suffix in (".tar", PART):
                    held.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in held)
        for _, size, path in sorted(held):
            if total + wanted <= self.cache_bytes:
                return
            if path.suffix == ".tar":
                path.unlink(missing_ok=True)
                Path(f"{path}.lock").unlink(missing_ok=True)
                total -= size

    def _tried(self, file: str, action: Any) -> Any:
        """What ``action`` gives, which is tried again where the network failed."""
        where = f"{self.root}/{file}"
        for number in range(TRIES):
            try:
                return action()
            except ShardError:
                raise
            except FileNotFoundError as error:
                what = "There is no index" if file == INDEX else "There is no shard"
                raise ShardError(f"{what} {where}.") from error
            except PermissionError as error:
                raise ShardError(f"{where} may not be read: {error}.") from error
            except Exception as error:  # file systems raise kinds of their own
                if is_full(error):
                    raise
                last = error
            if number + 1 < TRIES:
                time.sleep(WAIT_S * 2**number)
        reason = " ".join(str(last).split())[:200] or type(last).__name__
        raise ShardError(f"{where} cannot be fetched, after {TRIES} tries: {reason}.") from last

    def _fetch_all(self, wanted: queue.SimpleQueue[list[Shard]]) -> None:
        shards: list[Shard] = []
        while True:
            while not wanted.empty() or not shards:
                shards = list(wanted.get())
            with suppress(Exception):  # who reads it will tell
                self.path(shards.pop(0))


_OPEN = 32
"""Files that a process keeps open."""


class _Damaged(Exception):  # noqa: N818  tried again before it is told
    """What came over the network is not what the index says."""
