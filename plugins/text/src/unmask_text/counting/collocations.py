"""Collocations by pointwise mutual information (PMI-Masking, Levine et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.api import at_least, inside, progress
from unmask_text.counting.counter import Counter, Counts
from unmask_text.counting.tables import write_table
from unmask_text.data.store import Store
from unmask_text.masks.hashing import find, ngram_hashes, word_hashes
from unmask_text.vocabulary import vocabulary

SHARES = {2: 0.5, 3: 0.25, 4: 0.125, 5: 0.125}
"""Of the list, by number of words: lengths are ranked apart because their scores do not compare."""
LARGEST = 800_000
"""The paper's list."""
CHUNK = 2**21
"""Tokens looked at at once."""


def count_collocations(
    store: Store, tokenizer: str, path: Path, *, least: int = 11, size: int | None = None, coverage: float = 0.5,
    longest: int = 5, limit: int = 4_000_000,
) -> dict[str, Any]:  # fmt: skip
    """Rank the n-grams of words of a corpus by PMI and write the best to a file for `PMIMask`.

    ``PMI(w_1..w_n) = min over segmentations s of log(p(w_1..w_n) / prod p(s_i))``: an n-gram is no better than
    its worst cut, so "the" before a collocation makes no longer one. Two passes over the corpus;
    memory does not grow with it.

    Args:
        store: the corpus as tokens. N-grams do not cross pieces, nor words that the vocabulary does not know.
        tokenizer: path of its ``tokenizer.json``.
        path: where to write.
        least: occurrences that an n-gram has at least: the paper's "over 10".
        size: n-grams in the list, half of them of 2 words, a quarter of 3, an eighth of 4 and of 5; None: as many as
            make up ``coverage`` of the corpus's words, at most 800,000.
        coverage: share in (0, 1]; the paper chose its size so that about half the corpus is covered. Overlaps
            count twice, so somewhat less is.
        longest: words in an n-gram at most, 2 to 5.
        limit: distinct n-grams of a length kept in memory while counting.

    Returns:
        Numbers worth telling; ``examples`` are texts of the best by length.

    Raises:
        ValueError: an argument outside its range, or no n-gram that is frequent enough.

    Differs from the lists that the authors released, which were ranked with ``p(w_1..w_n)`` squared.
    """
    inside("[2, 5]", longest=longest)
    inside("(0, 1]", coverage=coverage)
    at_least(1, least=least, size=size)
    lengths = range(1, longest + 1)
    num_words = dict.fromkeys(lengths, 0)
    with ExitStack() as stack:
        counters = {n: stack.enter_context(Counter(limit)) for n in lengths}
        for chunk in _chunks(store, tokenizer, "Counting n-grams"):
            for n in lengths:
                key, within = chunk.ngrams(n)
                num_words[n] += int(within.sum())
                counters[n].add(key[within].numpy(), chunk.where[: len(key)][within].numpy())
        counts = {n: counters[n].frequent(least if n > 1 else 1) for n in lengths}
    if not any(len(counts[n].key) for n in lengths if n > 1):
        raise ValueError(f"`least` must be at most the count of the most frequent n-gram, but is {least}.")

    scores = _scores(store, tokenizer, counts, num_words)
    chosen = _choose(counts, scores, num_words[1], size, coverage)
    arrays = {f"n{n}": counts[n].key[keep] for n, keep in chosen.items()}
    arrays |= {f"pmi{n}": scores[n][keep].astype(np.float32) for n, keep in chosen.items()}
    about = {
        "vocabulary": vocabulary(tokenizer).fingerprint,
        "num_words": num_words[1],
        "sizes": {n: len(keep) for n, keep in chosen.items()},
        "least": least,
        "examples": _examples(store, tokenizer, counts, scores, chosen),
    }
    write_table(path, "collocations", about, arrays)
    return about


class _Chunk(NamedTuple):
    """Words of some pieces, one after another.

    Args:
        word: ``[W]``, their hashes.
        piece: ``[W]``, which piece each is in; words unknown to the vocabulary are in pieces of their own.
        where: ``[W]``, the place of each word's first token in the corpus.
    """

    word: Tensor
    piece: Tensor
    where: Tensor

    def ngrams(self, n: int) -> tuple[Tensor, Tensor]:
        """Hashes of the n words from each on ``[W - n + 1]``, and whether they are of one piece."""
        if len(self.word) < n:
            return self.word[:0], torch.zeros(0, dtype=torch.bool)
        total = len(self.word) - n + 1
        return ngram_hashes(self.word, n), self.piece[:total] == self.piece[n - 1 :]


def _chunks(store: Store, tokenizer: str, what: str) -> Iterator[_Chunk]:
    unknown = vocabulary(tokenizer).unknown_id
    total = len(store.ids)
    with progress(what, total) as moved:
        start = 0
        while start < len(store):
            end = max(int(np.searchsorted(store.offsets, store.offsets[start] + CHUNK, side="right")) - 1, start + 1)
            first, last = int(store.offsets[start]), int(store.offsets[end])
            ids = torch.from_numpy(store.ids[first:last].astype(np.int64))
            begins = torch.from_numpy(store.begins[first:last].astype(bool))
            unit = begins.long().cumsum(0) - 1  # every piece begins with a word
            where = begins.nonzero().squeeze(1)
            word = word_hashes(ids[None], unit[None], torch.ones_like(begins)[None])[0, : len(where)]
            lengths = torch.from_numpy(np.diff(store.offsets[start : end + 1]))
            piece = torch.arange(len(lengths)).repeat_interleave(lengths)[where]
            if unknown is not None:  # a piece of its own on either side
                strange = torch.zeros(len(where), dtype=torch.bool)
                strange[unit[ids == unknown]] = True
                bump = strange.long().cumsum(0) * 2 - strange.long()
                piece = piece + bump * len(lengths)
            yield _Chunk(word, piece, where + first)
            moved(last)
            start = end


def _scores(
    store: Store, tokenizer: str, counts: dict[int, Counts], num_words: dict[int, int]
) -> dict[int, np.ndarray]:
    """PMI of each frequent n-gram, worked out where it stands first in the corpus."""
    keys = {n: torch.from_numpy(count.key) for n, count in counts.items()}
    logs = {n: torch.from_numpy(np.log(count.times / max(num_words[n], 1))) for n, count in counts.items()}
    firsts = {n: torch.from_numpy(count.first) for n, count in counts.items()}
    scores = {n: np.full(len(count.key), -np.inf) for n, count in counts.items() if n > 1}
    for chunk in _chunks(store, tokenizer, "Scoring n-grams"):
        place: dict[int, Tensor] = {}
        log: dict[int, Tensor] = {}  # log p of the n words from each on, -inf where they are not frequent
        best: dict[int, Tensor] = {}  # the greatest sum of such over segmentations into two or more
        for n in counts:
            key, within = chunk.ngrams(n)
            place[n] = torch.where(within, find(keys[n], key), -1)
            log[n] = torch.full(key.shape, -torch.inf, dtype=torch.double)
            log[n][place[n] >= 0] = logs[n][place[n][place[n] >= 0]]
            if n == 1 or not len(key):
                continue
            ways = []
            for k in range(1, n):  # the first segment has k words
                rest = log[n - k] if n - k == 1 else torch.maximum(log[n - k], best[n - k])
                ways.append(log[k][: len(key)] + rest[k : k + len(key)])
            best[n] = torch.stack(ways).amax(0)
            here = (place[n] >= 0).nonzero().squeeze(1)
            here = here[firsts[n][place[n][here]] == chunk.where[here]]
            scores[n][place[n][here].numpy()] = (log[n][here] - best[n][here]).numpy()
    return scores


def _choose(
    counts: dict[int, Counts], scores: dict[int, np.ndarray], num_words: int, size: int | None, coverage: float
) -> dict[int, np.ndarray]:
    """Places of the chosen n-grams among the counted ones, in rising order of their keys."""
    total = sum(SHARES[n] for n in scores)
    ranked = {n: np.argsort(-score, kind="stable") for n, score in scores.items()}
    covered = {n: np.append(0, np.cumsum(counts[n].times[order]) * n) for n, order in ranked.items()}

    def taken(whole: int) -> dict[int, int]:
        return {n: min(round(whole * SHARES[n] / total), len(order)) for n, order in ranked.items()}

    if size is None:
        low, high = 1, LARGEST
        while low < high:  # the least size that covers enough
            middle = (low + high) // 2
            enough = sum(covered[n][k] for n, k in taken(middle).items()) >= coverage * num_words
            low, high = (low, middle) if enough else (middle + 1, high)
        size = low
    return {n: np.sort(ranked[n][:k]) for n, k in taken(size).items()}


def _examples(
    store: Store,
    tokenizer: str,
    counts: dict[int, Counts],
    scores: dict[int, np.ndarray],
    chosen: dict[int, np.ndarray],
) -> dict[str, list[str]]:
    """Texts of the best of each length."""
    named = vocabulary(tokenizer)
    texts: dict[str, list[str]] = {}
    for n, keep in chosen.items():
        texts[str(n)] = []
        for best in keep[np.argsort(-scores[n][keep], kind="stable")][:20]:
            start = int(counts[n].first[best])
            begins = np.flatnonzero(store.begins[start : start + 16 * n + 1])
            end = start + int(begins[n]) if len(begins) > n else len(store.ids)
            number = np.cumsum(store.begins[start:end]).tolist()
            texts[str(n)].append(" ".join(named.words(store.ids[start:end].tolist(), number)))
    return texts
