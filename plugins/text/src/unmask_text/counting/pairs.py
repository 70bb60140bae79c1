"""Pointwise mutual information of pairs of tokens near each other (InforMask, Sadeq et al. 2022)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from unmask.api import at_least, progress
from unmask_text.counting.counter import Counter
from unmask_text.counting.tables import write_table
from unmask_text.data.store import Store
from unmask_text.vocabulary import vocabulary

CHUNK = 2**20
"""Tokens looked at at once."""


def count_pairs(
    store: Store, tokenizer: str, path: Path, *, window: int = 10, least: int = 5, limit: int = 4_000_000
) -> dict[str, Any]:
    """Count pairs of tokens and write their PMI to a file for `InforMask`.

    ``PMI(a, b) = log(p(a, b) / (p(a) p(b)))``: p(a, b) is the share of all pairs at most ``window`` apart in a
    piece, in either order, that are a and b; p(a) the share of the places in pairs that are a.

    Args:
        store: the corpus as tokens.
        tokenizer: path of its ``tokenizer.json``.
        path: where to write.
        window: tokens between the two at most, at least 1.
        least: occurrences that a pair has at least; rarer ones count as independent.
        limit: distinct pairs kept in memory while counting.

    Returns:
        Numbers worth telling.

    Raises:
        ValueError: an argument below 1.
    """
    at_least(1, window=window, least=least)
    num_ids = len(vocabulary(tokenizer))
    single = np.zeros(num_ids, np.int64)
    total = 0
    with Counter(limit) as counter:
        with progress("Counting pairs", len(store.ids)) as moved:
            for ids, piece, done in _chunks(store):
                for distance in range(1, window + 1):
                    near = piece[distance:] == piece[:-distance]
                    one, other = ids[:-distance][near], ids[distance:][near]
                    counter.add(np.minimum(one, other) * num_ids + np.maximum(one, other))
                    single += np.bincount(one, minlength=num_ids) + np.bincount(other, minlength=num_ids)
                    total += len(one)
                moved(done)
        pairs = counter.frequent(least)
    share = single / max(2 * total, 1)
    one, other = pairs.key // num_ids, pairs.key % num_ids
    # Both orders of two different tokens are one pair, so independence would give twice the product.
    expected = share[one] * share[other] * np.where(one == other, 1, 2)
    pmi = np.log(pairs.times / max(total, 1) / expected)
    about = {
        "vocabulary": vocabulary(tokenizer).fingerprint,
        "window": window,
        "least": least,
        "num_ids": num_ids,
        "num_pairs": len(pmi),
        "num_counted": total,
    }
    write_table(path, "pairs", about, {"pairs": pairs.key, "pmi": pmi.astype(np.float32)})
    return about


def _chunks(store: Store) -> Any:
    start = 0
    while start < len(store):
        end = max(int(np.searchsorted(store.offsets, store.offsets[start] + CHUNK, side="right")) - 1, start + 1)
        first, last = int(store.offsets[start]), int(store.offsets[end])
        piece = np.repeat(np.arange(end - start), np.diff(store.offsets[start : end + 1]))
        yield store.ids[first:last].astype(np.int64), piece, last
        start = end
