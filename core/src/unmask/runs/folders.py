"""Run folders, told from their files alone: where a run writes, what it wrote last, how it ended.

A run of the recipe ``this/that`` writes to ``runs/this/that``: ``config.yaml``, ``environment.json``, ``metrics.csv``,
``checkpoints/``. Nothing is overwritten: when an earlier run lies there, a new one goes to ``runs/this/that-2``, and so
on. ``--ckpt_path last`` carries on the newest of them. As long as it lives, a run holds ``.lock`` in its folder.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from unmask.support.errors import UserError

LOCK = ".lock"
"""The file that a run locks, and writes its process into. It stays when the run ends; the lock does not."""
FOLDER = "UNMASK_RUN_FOLDER"
"""Environment variable for the processes that the first one of a run starts: where it writes."""
ABOUT = "meta.pt"
"""Of a sharded checkpoint, which is a folder: the file written last, with all that is no weight."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
"""Environment variables of which one is not 0 in all processes of a run but the first."""


def run_folder(base: Path, resume: bool) -> Path:
    """The folder to write to: the newest run of that name to resume it, else one that is free."""
    taken = [folder for _, folder in _numbered(base) if holds_a_run(folder)]
    if resume:
        return taken[-1] if taken else base
    if not taken:
        return base
    return base.with_name(f"{base.name}-{_next_number(base)}")


def holds_a_run(folder: Path) -> bool:
    """Whether something was logged or saved in ``folder``."""
    return (folder / "metrics.csv").exists() or newest_checkpoint(folder) is not None


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint written last in a run folder, or None: the one that is resumed, probed, exported and built upon.

    Those in ``checkpoints/`` count, and those that Lightning writes into the folder itself before SLURM requeues a
    run (``hpc_ckpt_1.ckpt``). Of two written at the same moment, `last` is newer.
    """
    return next(iter(checkpoints(folder)), None)


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a run folder, the newest first."""
    return _newest_first([*(folder / "checkpoints").glob("*.ckpt"), *folder.glob("hpc_ckpt_*.ckpt")])


def is_sharded(path: Path) -> bool:
    """Whether ``path`` is a sharded checkpoint: a folder that several processes have written."""
    return (path / ABOUT).is_file()


def the_one_before(path: Path) -> str:
    """The newest other checkpoint beside ``path``, as the end of a message; empty where there is none."""
    others = [] if path.suffix != ".ckpt" else [one for one in path.parent.glob("*.ckpt") if not _same(one, path)]
    return f"; the one before: `{_newest_first(others)[0]}`" if others else ""


def claim(base: Path, resume: bool) -> tuple[Path, FileLock | None]:
    """The folder of a run, made and locked for as long as this process lives, or until the lock is released.

    Of the processes of one run, the first one locks; those that it starts write to its folder.

    Args:
        base: as in `run_folder`.
        resume: whether ``base`` itself is meant, in which a run lies.

    Raises:
        UserError: ``resume``, and another process writes to that folder.
    """
    folder = base if resume else run_folder(base, resume=False)
    if any(os.environ.get(name, "0") != "0" for name in RANKS):
        return Path(os.environ.get(FOLDER, folder)), None
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        by = _holder(folder)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if resume:
                raise UserError(
                    f"`{folder}` is in use: another run writes to it{by}; wait for its end, or stop it."
                ) from None
            folder = base.with_name(f"{base.name}-{_next_number(base)}")
            continue
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            warnings.warn(f"`{folder}` cannot be locked on its file system: start no other run in it.", stacklevel=2)
        if not resume and holds_a_run(folder):  # begun and ended since it was found free
            release(lock)
            folder = run_folder(base, resume=False)
            continue
        with suppress(OSError):
            (folder / LOCK).write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        os.environ[FOLDER] = str(folder)
        return folder, lock


def release(lock: FileLock) -> None:
    """Gives up a folder; one in which nothing was written is gone again."""
    file = Path(lock.lock_file)
    if lock.is_locked and file.is_file() and not any(one != file for one in file.parent.iterdir()):
        with suppress(OSError):
            file.unlink()
            file.parent.rmdir()
    lock.release()
    os.environ.pop(FOLDER, None)


def is_in_use(folder: Path) -> bool:
    """Whether a run writes to ``folder`` at the moment."""
    if not (folder / LOCK).is_file():
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def is_finished(folder: Path) -> bool:
    """Whether the run in ``folder`` came to its end, however often it was resumed, and left a checkpoint."""
    entries = read_environment(folder / "environment.json")
    return bool(entries) and entries[-1].get("ended") == "finished" and newest_checkpoint(folder) is not None


def read_environment(path: Path) -> list[dict[str, Any]]:
    """The entries of ``environment.json``, one per start or resume of a run; none where there is no such file, or
    something else in it."""
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _newest_first(paths: list[Path]) -> list[Path]:
    there = [path for path in paths if path.is_file() or is_sharded(path)]
    return sorted(there, key=lambda path: (_written(path), path.stem == "last", path.name), reverse=True)


def _written(path: Path) -> int:
    """When a checkpoint was written, in nanoseconds. A folder's own time changes with every file that is deleted."""
    return ((path / ABOUT) if path.is_dir() else path).stat().st_mtime_ns


def _same(one: Path, other: Path) -> bool:
    return not one.exists() or one.samefile(other)


def _holder(folder: Path) -> str:
    """Who has written the lock of ``folder``, as the end of a sentence; empty where it does not say."""
    try:
        text = (folder / LOCK).read_text().strip()
    except (OSError, ValueError):
        return ""
    return f" ({text[:100]})" if text.startswith("process ") else ""


def _next_number(base: Path) -> int:
    return max((number for number, _ in _numbered(base)), default=0) + 1


def _numbered(base: Path) -> list[tuple[int, Path]]:
    """``base`` and its numbered siblings that exist, by number."""
    found = [(1, base)] if base.exists() else []
    for path in base.parent.glob(f"{base.name}-*"):
        if (suffix := path.name[len(base.name) + 1 :]).isdigit():
            found.append((int(suffix), path))
    return sorted(found)
