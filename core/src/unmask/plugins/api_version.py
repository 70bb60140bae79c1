"""The version of the plugin API: what core promises to plugins, and which promise a plugin was built for.

A version is ``major.minor``. The minor part grows when something is added, the major part when something
that plugins use changes or goes. So a plugin built for 2.1 works with a core of API 2.1, 2.2, ..., and with no
core of API 2.0 or 3.0. A distribution declares its version in one line of metadata, which is read without
importing anything; one that works with several majors has a line for each::

    [project.entry-points."unmask.api"]
    "3.0" = "unmask_mine"

The API is what the modules in `unmask.api.MODULES` list under ``__all__``, and the entry-point groups.
"""

from __future__ import annotations

import re
from importlib import metadata

API = "3.0"
"""Of this core."""

GROUP = "unmask.api"
"""The entry-point group of declarations: the name is the version, the value the package."""


def declared(distribution: str) -> list[str]:
    """The versions that an installed distribution was built for, from its metadata; empty when it says nothing."""
    try:
        entries = metadata.distribution(distribution).entry_points
    except Exception:  # it is not installed, or its metadata is damaged in any way
        return []
    return [entry.name for entry in entries.select(group=GROUP)]


def mismatch(distribution: str) -> str | None:
    """Why ``distribution`` does not work with this core, in a sentence; None when it may.

    One that declares nothing may work: only `unmask doctor` asks for the line.
    """
    versions = declared(distribution)
    for version in versions:
        if not re.fullmatch(r"\d+\.\d+", version):
            return f"{distribution} declares plugin API `{version}`, but it must be a `major.minor` such as `{API}`."
    if not versions or any(fits(version) for version in versions):
        return None
    newest = max(versions, key=_numbers)
    way_out = f"a newer {distribution}" if _numbers(newest) < _numbers(API) else "a newer unmask"
    return (
        f"{distribution} was built for plugin API {newest}, but this unmask has API {API}; "
        f"install {way_out}, or the version of either that goes with the other."
    )


def owns(distribution: str, name: str) -> bool:
    """Whether a name is its distribution's own: for core one without a prefix, for ``unmask-mine`` ``mine.…``,
    ``mine/…`` and ``mine-…``. Where several claim a name, its owner is meant, so nobody else can take it away.
    """
    prefix = re.sub("[-_.]+", "-", distribution).lower().removeprefix("unmask").removeprefix("-")
    return name.startswith((f"{prefix}.", f"{prefix}/", f"{prefix}-")) if prefix else not re.search("[./]", name)


def fits(version: str) -> bool:
    """Whether a plugin built for ``version`` works with this core: same major part, minor part at most core's."""
    major, minor = _numbers(version)
    return major == _numbers(API)[0] and minor <= _numbers(API)[1]


def _numbers(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)
