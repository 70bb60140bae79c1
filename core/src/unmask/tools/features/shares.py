"""Rows that several processes make, each in a table of its own, put behind each other as one process would have."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from unmask.support.atomic import written_whole
from unmask.tools.features.ranks import Ranks
from unmask.tools.features.row_store import STATE, RowStore, saved

NOTE = "shares.json"
"""Where the shares begin, how many there are, and what they are made with."""


class Span(NamedTuple):
    """A batch: samples ``start`` to ``stop`` of a part of the data, after ``before`` samples of all parts."""

    part: str
    start: int
    stop: int
    before: int


def spans(sizes: dict[str, int], batch_size: int, done: int) -> list[Span]:
    """All batches but those of the first ``done`` samples: of each part in turn; its last may be smaller.

    Args:
        sizes: samples of each part.
        batch_size: at least 1.
        done: samples of whole batches.
    """
    found, before = [], 0
    for part, size in sizes.items():
        for start in range(0, size, batch_size):
            if before + start >= done:
                found.append(Span(part, start, min(start + batch_size, size), before + start))
        before += size
    return found


def share_out(folder: Path, shares: Path, about: dict[str, Any], ranks: Ranks) -> int:
    """Takes what earlier calls have left into the common table; gives the samples after which shares begin.

    A call with as many processes as before goes on with their shares. One with another number takes in what lies behind
    the common table without a gap, and the rest is shared out anew. To be called on the first process alone.

    Args:
        folder: of the common table.
        shares: of the processes' own tables.
        about: what the rows are made with.
        ranks: of this call.
    """
    note = saved(shares / NOTE)
    if note is not None and note["world"] == ranks.world:
        return int(note["from"])
    with RowStore(folder, about) as columns:
        for rank in range(note["world"] if note is not None else 0):
            state = saved(shares / str(rank) / STATE)
            if state is None or state["about"]["first"] > columns.num_samples:
                break
            if state["about"]["first"] == columns.num_samples:  # else it is in already
                columns.extend(shares / str(rank))
        done = columns.num_samples
    shutil.rmtree(shares, ignore_errors=True)
    if ranks.world > 1:
        shares.mkdir(parents=True)
        with written_whole(shares / NOTE) as part:
            part.write_text(json.dumps({"from": done, "world": ranks.world, "about": about}) + "\n")
    return done


def join(columns: RowStore, shares: Path, ranks: Ranks) -> None:
    """Takes every process's rows into the common table; killed, the same call goes on."""
    for rank in range(ranks.world):
        state = saved(shares / str(rank) / STATE)
        if state is not None and state["about"]["first"] >= columns.num_samples:
            columns.extend(shares / str(rank))
