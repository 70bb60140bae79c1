"""Files that appear whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from unmask.support.atomic import written_whole


def write(path: Path, content: bytes) -> Path:
    """Write ``content`` to ``path``, in whose place nothing or the old file is until all of it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        part.write_bytes(content)
    return path


def write_all(out: Path, picture: np.ndarray | None, files: Mapping[str, bytes]) -> list[Path]:
    """A picture and what belongs to it.

    Args:
        out: of the picture, such as ``this.png``.
        picture: ``[height, width, 3]`` uint8; None: there is none.
        files: contents, by what follows ``this-`` in their names.

    Returns:
        All files written.
    """
    written = [] if picture is None else [write(out, _png(picture))]
    return written + [write(out.with_name(f"{out.stem}-{name}"), content) for name, content in files.items()]


def named(written: list[Path]) -> str:
    """The names of what `write_all` wrote; of many, how many and of which kinds."""
    if len(written) <= 4:
        return ", ".join(map(str, written))
    kinds = sorted({path.suffix for path in written})
    return f"{len(written)} files ({', '.join(kinds)}): {written[0]} to {written[-1].name}"


def _png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()
