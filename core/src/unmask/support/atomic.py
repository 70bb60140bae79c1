"""Files that are there whole or not at all: written beside their place, brought to the disk, and renamed.

A kill or a full disk while a file is written leaves the one before as it was. Temporary folders play no part: a rename
is one step within a file system only.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PART = ".part"
"""How the name of a file that is being written ends."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, or more than a user or a file may take: the run fails, though nobody made a mistake."""
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS, errno.EBADF, errno.EACCES)


@contextmanager
def written_whole(path: Path | str, sync: bool = True) -> Iterator[Path]:
    """Gives the block a new path beside ``path`` to write to; what is there then takes the place of ``path``.

    Args:
        path: the file. Its folder must be there. A link is replaced, not followed.
        sync: whether to wait until the disk has it, so that it outlives a power cut too; some milliseconds.

    Raises:
        OSError: as the block or the rename did, but naming ``path``. What was written is gone then, and ``path`` is
            as it was.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        with naming(path):
            yield part
            if sync:
                to_disk(part)
            take_place(part, path)
            if sync:
                to_disk(path.parent)
    except BaseException:
        remove(part)
        raise


def take_place(part: Path, path: Path) -> None:
    """Renames ``part`` to ``path``. In one step, unless one of them is a folder, which a rename cannot replace.

    What lay there is then called ``NAME.before.SUFFIX`` until the new one has its place, so that one of them is there
    whole at any moment.
    """
    if not part.is_dir() and not path.is_dir():
        os.replace(part, path)
        return
    before = path.with_name(f"{path.stem}.before{path.suffix}")
    if path.exists():
        remove(before)
        os.replace(path, before)
    os.replace(part, path)
    remove(before)


def remove(path: Path) -> None:
    """Deletes a file or a folder, if it is there; a folder that is half deleted is not left under its name."""
    with suppress(OSError):
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        if not path.name.endswith(PART):
            hidden = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
            os.replace(path, hidden)
            path = hidden
        shutil.rmtree(path)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """An OSError of the block comes out with the name of ``path``, unless it is about another file."""
    try:
        yield
    except Exception as error:
        cause = _of_the_machine(error)
        if cause is None or not str(cause.filename or path).startswith(str(path)):
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error


def is_full(error: BaseException) -> OSError | None:
    """The OSError behind an error, where it says that there is no space; else None."""
    cause = _of_the_machine(error)
    return cause if cause is not None and cause.errno in FULL else None


def remove_parts(folder: Path, name: str = "*") -> None:
    """Deletes what killed writers of files called ``name`` have left in a folder, while nobody writes such files."""
    for part in folder.glob(f"{name}.????????{PART}"):
        remove(part)


def _of_the_machine(error: BaseException) -> OSError | None:
    """The OSError that an error is, or came from: torch's writer raises one of its own while it handles one."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def to_disk(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk; where the file system cannot say, does not."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
