"""Run folders, told from their files alone: where a run writes, what it wrote last, how it ended.

A run of the recipe ``this/that`` writes to ``runs/this/that``: ``config.yaml``, ``environment.json``, ``metrics.csv``,
``checkpoints/``. Nothing is overwritten: when an earlier run lies there, a new one goes to ``runs/this/that-2``, and so
on. ``--ckpt_path last`` carries on the newest of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def run_folder(base: Path, resume: bool) -> Path:
    """The folder to write to: the newest run of that name to resume it, else one that is free."""
    taken = [folder for _, folder in _numbered(base) if holds_a_run(folder)]
    if resume:
        return taken[-1] if taken else base
    if not taken:
        return base
    number = max(number for number, _ in _numbered(base)) + 1
    return base.with_name(f"{base.name}-{number}")


def holds_a_run(folder: Path) -> bool:
    """Whether something was logged or saved in ``folder``."""
    return (folder / "metrics.csv").exists() or newest_checkpoint(folder) is not None


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint written last in a run folder, or None."""
    found = [path for path in (folder / "checkpoints").glob("*.ckpt") if path.exists()]
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name), default=None)


def is_finished(folder: Path) -> bool:
    """Whether the run in ``folder`` came to its end, however often it was resumed, and left a checkpoint."""
    entries = read_environment(folder / "environment.json")
    return bool(entries) and entries[-1].get("ended") == "finished" and newest_checkpoint(folder) is not None


def read_environment(path: Path) -> list[dict[str, Any]]:
    """The entries of ``environment.json``, one per start or resume of a run; none where there is no such file, or
    something else in it."""
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _numbered(base: Path) -> list[tuple[int, Path]]:
    """``base`` and its numbered siblings that exist, by number."""
    found = [(1, base)] if base.exists() else []
    for path in base.parent.glob(f"{base.name}-*"):
        if (suffix := path.name[len(base.name) + 1 :]).isdigit():
            found.append((int(suffix), path))
    return sorted(found)
