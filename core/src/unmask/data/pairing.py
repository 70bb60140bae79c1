"""Which names of one part are names of another: files in several folders, rows of a table that tell of files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

Parts = tuple[str, ...]


def partners(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """For each of ``names`` the one of ``others`` that is of the same thing, where there is one.

    Two paths are of the same thing where either ends in the other, with or without their endings: ``a/3.png`` and
    ``a/3.wav``, or ``3``, or ``/data/images/a/3.png``. Of several the one counts that is the same path, then the one
    that shares most with it.

    Raises:
        ValueError: two of ``others`` fit a name equally, or names in several folders have the same partner.
    """
    known: dict[Parts, set[str]] = defaultdict(set)  # by whole paths
    ends: dict[Parts, set[str]] = defaultdict(set)  # by their ends
    for other in set(others):
        for parts in _ways(other):
            known[parts].add(other)
            for first in range(1, len(parts)):
                ends[parts[first:]].add(other)
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in dict.fromkeys(names):
        fits = _fits(name, known, ends)
        if len(fits) > 1:
            one, two = sorted(fits)[:2]
            raise ValueError(f"`pair` must tell names apart, but {name!r} may be {one!r} or {two!r}.")
        for other in fits:
            before = taken.setdefault(other, name)
            if before.rpartition("/")[0] != name.rpartition("/")[0]:
                raise ValueError(
                    f"`pair` must tell names apart, but {other!r} may be {before!r} or {name!r}; write more of its "
                    "path."
                )
            found[name] = other
    return found


def _fits(name: str, known: dict[Parts, set[str]], ends: dict[Parts, set[str]]) -> set[str]:
    """The others that fit a name best, by whole paths with their endings first."""
    for parts in _ways(name):
        if parts in known:
            return known[parts]
        shorter = next((known[parts[first:]] for first in range(1, len(parts)) if parts[first:] in known), None)
        if shorter is not None or parts in ends:
            return shorter if shorter is not None else ends[parts]
    return set()


def _ways(path: str) -> list[Parts]:
    """Folders and the name, with its ending and without it, whatever the system that wrote them."""
    parts = [one for one in path.replace("\\", "/").split("/") if one not in ("", ".", "..")]
    if not parts:
        return []
    stem, dot, _ = parts[-1].rpartition(".")
    whole = tuple(parts)
    return [whole, (*whole[:-1], stem)] if dot and stem else [whole]
