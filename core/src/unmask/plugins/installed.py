"""Entry points of what is installed: a distribution whose metadata is damaged is left out, and spoils no other."""

from __future__ import annotations

import warnings
from importlib import metadata
from typing import Any


def entry_points() -> Any:
    """All entry points, as `importlib.metadata.entry_points` has them: with ``groups`` and ``select``.

    That function fails as a whole where one distribution fails, so then they are asked one by one.
    """
    try:
        return metadata.entry_points()
    except Exception:  # any text may stand in those files
        return metadata.EntryPoints(_one_by_one())


def name_of(entry: metadata.EntryPoint) -> str:
    """The distribution of an entry point."""
    unnamed = "an unnamed distribution"
    try:
        return getattr(entry.dist, "name", None) or unnamed
    except Exception:  # its METADATA is no text, say
        return unnamed


def _one_by_one() -> list[metadata.EntryPoint]:
    found: dict[str, list[metadata.EntryPoint]] = {}
    for distribution in metadata.distributions():
        name = f"a distribution in {distribution.locate_file('')}"
        try:
            name = distribution.name or name
            found.setdefault(name, list(distribution.entry_points))  # the first one of a name is imported
        except Exception as error:
            warnings.warn(
                f"The entry points of {name} are left out, for its metadata cannot be read: "
                f"{type(error).__name__}: {' '.join(str(error).split()):.100}",
                stacklevel=2,
            )
    return [entry for entries in found.values() for entry in entries]
