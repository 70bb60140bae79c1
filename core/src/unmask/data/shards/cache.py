"""A cache of shards that lie behind a URL: whole ones are fetched, checked, and kept up to a number of bytes."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from unmask.data.shards.index import INDEX, MOST_INDEX, Shard, ShardError
from unmask.support.atomic import PART, is_full, remove_parts, written_whole

TRIES = 5
"""Times that something is asked for over the network before it is an error."""
WAIT_S = 0.5
"""Before the second try; each further one waits twice as long."""
PIECE = 2**20
ENDINGS = (".tar", ".bin")
"""Of what is kept: shards, and chunks of LitData."""
STALE_S = 600
"""A file that nobody has written to for so long is what a killed process left."""


class ShardCache:
    """Shards of a URL on this machine, shared by all its processes.

    Args:
        root: a URL that fsspec knows.
        folder: of the cache; is made.
        most_bytes: of all shards in it; those that were used last are kept.

    Attributes:
        mark: tells shards without a digest apart from others of their name.
    """

    def __init__(self, root: str, folder: Path, most_bytes: int) -> None:
        self.root, self.folder, self.most_bytes = root, folder, most_bytes
        self.mark = ""
        self._begin()

    def _begin(self) -> None:
        """What each process has for itself."""
        self._pid = os.getpid()
        self._system: Any = None
        self._inherited: Any = None
        self._wanted: queue.SimpleQueue[list[Shard]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("root", "folder", "most_bytes", "mark")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def index(self, file: str = INDEX) -> bytes:
        """The text of the index.

        Args:
            file: its name.

        Raises:
            ShardError: there is none, or it cannot be fetched.
        """
        return self._tried(file, lambda: self._text(file))

    def path(self, shard: Shard) -> Path:
        """Where a shard lies on this machine, fetched if need be.

        Raises:
            ShardError: it is missing, damaged, or cannot be fetched.
        """
        key = hashlib.blake2b(f"{self.root} {shard.digest or self.mark}".encode(), digest_size=8).hexdigest()
        path = self.folder / f"{key}-{shard.file}"
        with suppress(FileNotFoundError):
            os.utime(path)  # the cache keeps what was used last
            return path
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                if not path.is_file():
                    remove_parts(self.folder, path.name)
                    self._tried(shard.file, lambda: self._fetch(shard, path))
        except OSError as error:
            told = "is full" if is_full(error) else f"cannot be written: {error.strerror or error}"
            raise ShardError(f"The cache of shards, {self.folder}, {told}.") from error
        return path

    def fetch_ahead(self, shards: list[Shard]) -> None:
        """Fetches shards in the background, in place of those that were asked for before and have not begun."""
        self._own()
        if self._wanted is None:
            self._wanted = queue.SimpleQueue()
            threading.Thread(target=self._fetch_all, args=(self._wanted,), daemon=True).start()
        self._wanted.put(shards)

    def _own(self) -> None:
        """After a fork, connections of the parent are left alone."""
        if self._pid != os.getpid():
            inherited = self._system
            self._begin()
            self._inherited = inherited  # kept, or it would close the parent's connections, by a loop that does not run

    def _open(self, file: str) -> Any:
        """A file behind the URL; each process has a file system of its own, for they have threads."""
        self._own()
        if self._system is None:
            import fsspec

            try:
                self._system = fsspec.core.url_to_fs(self.root, skip_instance_cache=True)
            except (ImportError, ValueError) as error:
                raise ShardError(
                    f"Shards must lie behind a URL that fsspec can read, but {self.root}: {error}"
                ) from error
        system, base = self._system
        return system.open(f"{base.rstrip('/')}/{file}", "rb")

    def _text(self, name: str) -> bytes:
        with self._open(name) as file:
            text = file.read(MOST_INDEX + 1)
        if len(text) > MOST_INDEX:
            raise ShardError(f"The index {self.root}/{name} must have at most {MOST_INDEX:,} bytes.")
        return text

    def _fetch(self, shard: Shard, path: Path) -> None:
        """A shard into the cache, compared with its size and digest, if it has one."""
        with written_whole(path, sync=False) as part:
            with FileLock(self.folder / ".lock"):
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
            if left:
                raise _Damaged("its size is another one than the index says")
            if shard.digest and digest.hexdigest() != shard.digest:
                raise _Damaged("its checksum is another one than the index says")

    def _make_room(self, wanted: int) -> None:
        """Drops what was used longest ago until ``wanted`` more bytes fit."""
        held = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):
                status = path.stat()
                stale = path.name.endswith(PART) and time.time() - status.st_mtime > STALE_S
                if stale:
                    path.unlink()
                elif path.suffix in (*ENDINGS, PART):
                    held.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in held)
        for _, size, path in sorted(held):
            if total + wanted <= self.most_bytes:
                return
            if path.suffix in ENDINGS:
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
                what = "There is no index" if file.endswith(".json") else "There is no shard"
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


class _Damaged(Exception):  # noqa: N818  tried again before it is told
    """What came over the network is not what the index says."""
