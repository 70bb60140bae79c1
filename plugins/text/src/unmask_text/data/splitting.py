"""Which pieces of a corpus are trained on, and which are held out."""

from __future__ import annotations

import numpy as np

from unmask import seeds
from unmask.data import SEEN_RATIO
from unmask_text.data.store import Store


def trainable(store: Store) -> np.ndarray:
    """Pieces in which something can be hidden and something left."""
    return np.flatnonzero(store.words >= 2)


def held_out(store: Store, val_ratio: float, split: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pieces to train on and pieces to validate on, the same in every run."""
    pieces = trainable(store)
    if not split or len(pieces) < 2:
        return pieces, pieces
    # Whole documents are held out, where there are enough of them to come near the ratio.
    owners, owner_of = np.unique(store.document[pieces], return_inverse=True)
    ratio = val_ratio or SEEN_RATIO
    if len(owners) * ratio < 1:
        owners, owner_of = pieces, np.arange(len(pieces))
    num_val = min(max(round(len(owners) * ratio), 1), len(owners) - 1)
    chosen = np.random.default_rng(seeds.mix("split")).permutation(len(owners))[:num_val]
    held = np.zeros(len(owners), dtype=bool)
    held[chosen] = True
    return pieces[~held[owner_of]] if val_ratio else pieces, pieces[held[owner_of]]


def with_untrained(store: Store, train: np.ndarray, val: np.ndarray) -> np.ndarray:
    """Pieces that are held out, ascending, with the pieces of one word of the documents that are held out whole.

    Args:
        store: the corpus.
        train: pieces to train on.
        val: pieces to validate on; those that are also trained on are not held out.
    """
    held = np.setdiff1d(val, train)
    whole = np.setdiff1d(store.document[held], store.document[train])
    return np.union1d(held, np.flatnonzero(np.isin(store.document, whole)))
