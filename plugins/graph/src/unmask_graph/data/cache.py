"""What is built once and kept: arrays in one file, written at once or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from unmask.api import progress

VERSION = 2
"""Raised when what is written to the cache changes."""

Moved = Callable[[float], None]


def cached(
    key: Any, cache_folder: str | None, what: str, build: Callable[[Moved], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Arrays for ``key``, built when they are not in the folder, or damaged there.

    Args:
        key: what they depend on; told apart by its JSON.
        cache_folder: None: ``unmask/graph`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
        what: is being done, for the progress bar.
        build: makes them; is given a function to call with the share that is done, in [0, 1].

    Raises:
        ValueError: a folder that cannot be written.
    """
    name = hashlib.blake2b(json.dumps([VERSION, key], sort_keys=True).encode(), digest_size=12).hexdigest()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    path = Path(cache_folder or f"{home}/unmask/graph").expanduser().absolute() / f"{name}.npz"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"`cache_folder` must be a folder that can be written, but {path.parent} is not: {error}."
        ) from error
    try:
        with np.load(path) as stored:
            return dict(stored)
    except Exception:  # it is not there, or damaged in any way
        with progress(what, 1) as moved:
            arrays = build(moved)
    _write(path, arrays)
    return arrays


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
