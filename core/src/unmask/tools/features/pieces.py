"""Rows of wholes, such as recordings or documents, from rows of their pieces: means over the pieces.

Each piece counts once, whatever its length: text is cut into pieces as even as possible, and windows of sounds overlap,
so weights by tokens would hardly differ for the one and count overlaps twice for the other.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unmask.tools.features.files import CHUNK_LINES, FEATURES
from unmask.tools.features.row_store import TEXT, Column, RowStore
from unmask.tools.wholes import Wholes, firsts

NUM_ROWS = 4096
"""Rows of pieces that are summed at once."""
PIECE, SPLIT, LABEL = "piece", "split", "label"


def means(values: np.ndarray, owner: np.ndarray) -> Iterator[np.ndarray]:
    """Means of rows over their owners, some owners at a time, in their order: ``[m, ...]`` float64 each.

    Args:
        values: ``[n, ...]``, in memory or mapped into it; ``NUM_ROWS`` of them are read at once.
        owner: ``[n]``, whole numbers from 0, none left out.
    """
    order, counts = np.argsort(owner, kind="stable"), np.bincount(owner)
    left: np.ndarray | None = None  # the sum of an owner whose rows may go on
    last = -1
    for start in range(0, len(order), NUM_ROWS):
        rows = order[start : start + NUM_ROWS]
        own = owner[rows]
        begins = np.flatnonzero(np.diff(own, prepend=-1))
        sums = np.add.reduceat(values[rows].astype(np.float64), begins, axis=0)
        if left is not None and own[0] == last:
            sums[0] += left
        elif left is not None:
            yield left[None] / counts[last]
        left, last = sums[-1], own[-1]
        if len(sums) > 1:
            yield sums[:-1] / counts[own[begins[:-1]]].reshape(-1, *[1] * (sums.ndim - 1))
    if left is not None:
        yield left[None] / counts[last]


def put_together(pieces: RowStore, folder: Path) -> RowStore:
    """Rows of wholes from rows of their pieces, all committed.

    Features are means over pieces, ``piece`` becomes ``num_pieces``, and ``split`` has several words, joined by
    semicolons, where pieces are in several. Anything else is the first piece's.

    Args:
        pieces: with ``features``, ``name`` and ``piece``.
        folder: to write to; what is there is replaced.

    Raises:
        ValueError: pieces of one thing that differ in their label.
    """
    wholes = Wholes()
    parts = [wholes.of(chunk, len(chunk["name"])) for chunk in pieces.chunks(["name", PIECE], CHUNK_LINES)]
    owner = np.concatenate(parts)
    first = firsts(owner)
    columns = {name: _firsts(pieces, name, first) for name in pieces.kinds if name not in (FEATURES, PIECE)}
    columns["num_pieces"] = np.bincount(owner)
    if SPLIT in columns:
        columns[SPLIT] = _splits(pieces, owner)
    if LABEL in columns:
        _check_labels(pieces, owner, columns)
    shutil.rmtree(folder, ignore_errors=True)
    with RowStore(folder, pieces.about) as made:
        for block in means(_mapped(pieces, FEATURES), owner):
            own = slice(made.num_rows, made.num_rows + len(block))
            rows: dict[str, Column] = {FEATURES: block.astype(np.float32)}
            rows |= {name: column[own] for name, column in columns.items()}
            made.append(rows, int(columns["num_pieces"][own].sum()))  # type: ignore[union-attr]
    return made


def _mapped(store: RowStore, name: str) -> np.ndarray:
    kind = store.kinds[name]
    return np.memmap(store.folder / name, np.dtype(kind.dtype), "r", shape=(store.num_rows, *kind.shape))


def _firsts(pieces: RowStore, name: str, first: np.ndarray) -> Column:
    """A column's rows at ``first``."""
    if pieces.kinds[name].dtype != TEXT:
        return np.array(_mapped(pieces, name)[first])
    wanted = np.zeros(pieces.num_rows, dtype=bool)
    wanted[first] = True
    words = (word for chunk in pieces.chunks([name], CHUNK_LINES) for word in chunk[name])
    return [word for word, own in zip(words, wanted.tolist(), strict=True) if own]


def _splits(pieces: RowStore, owner: np.ndarray) -> list[str]:
    found: list[dict[str, Any]] = [{} for _ in range(owner.max() + 1)]
    words = (word for chunk in pieces.chunks([SPLIT], CHUNK_LINES) for word in chunk[SPLIT])
    for number, word in zip(owner.tolist(), words, strict=True):
        found[number][word] = None
    return [";".join(one) for one in found]


def _check_labels(pieces: RowStore, owner: np.ndarray, columns: dict[str, Column]) -> None:
    labels, firsts = _mapped(pieces, LABEL), columns[LABEL]
    for start in range(0, len(owner), NUM_ROWS):
        own = owner[start : start + NUM_ROWS]
        given, expected = labels[start : start + NUM_ROWS], firsts[own]
        differs = (given != expected) & ~(np.isnan(given) & np.isnan(expected))
        if differs.any():
            place = int(np.flatnonzero(differs.reshape(len(own), -1).any(1))[0])
            raise ValueError(
                f"All pieces of `{columns['name'][own[place]]}` must have one label to become one row, but have "
                f"{expected[place]} and {given[place]}; leave out `whole`."
            )
