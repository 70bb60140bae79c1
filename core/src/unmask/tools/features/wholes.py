"""Whole things made of pieces, such as a recording of its windows or a document of its parts: means over the pieces.

Samples with ``piece`` are pieces of what their ``name`` says, and samples without it are whole. Each piece counts once,
whatever its length: text is cut into pieces as even as possible, and windows of sounds overlap, so weights by tokens
would hardly differ for the one and count overlaps twice for the other.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unmask.tools.features.files import CHUNK_LINES, FEATURES
from unmask.tools.features.row_store import TEXT, Column, RowStore

NUM_ROWS = 4096
"""Rows of pieces that are summed at once."""
PIECE, SPLIT, LABEL = "piece", "split", "label"


class Wholes:
    """Numbers things from 0, in the order in which their first pieces come.

    Two files of different folders may be called alike: pieces of one name are of one thing as long as each has a number
    of its own, and a number that comes again begins another thing.

    Attributes:
        names: of the things so far.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._last: dict[str, tuple[int, int]] = {}  # by name: the thing, and a bit for each of its pieces

    def of(self, names: Sequence[str], pieces: Sequence[int]) -> np.ndarray:
        """The thing that each piece is of, ``[n]`` int64.

        Args:
            names: of the things.
            pieces: numbers of the pieces in their things, from 0.
        """
        owner = np.empty(len(names), dtype=np.int64)
        for place, (name, piece) in enumerate(zip(names, pieces, strict=True)):
            number, seen = self._last.get(name, (-1, 0))
            if number < 0 or seen >> piece & 1:
                number, seen = len(self.names), 0
                self.names.append(name)
            self._last[name] = number, seen | 1 << piece
            owner[place] = number
        return owner


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
    """Rows of whole things from rows of their pieces, all committed.

    Features are means over pieces, ``piece`` becomes ``num_pieces``, and ``split`` has several words, joined by
    semicolons, where pieces are in several. Anything else is the first piece's.

    Args:
        pieces: with ``features``, ``name`` and ``piece``.
        folder: to write to; what is there is replaced.

    Raises:
        ValueError: pieces of one thing that differ in their label.
    """
    wholes = Wholes()
    parts = [wholes.of(chunk["name"], chunk[PIECE].tolist()) for chunk in pieces.chunks(["name", PIECE], CHUNK_LINES)]  # type: ignore[arg-type, union-attr]
    owner = np.concatenate(parts)
    first = np.unique(owner, return_index=True)[1]  # ascending, for things are numbered as they come
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
