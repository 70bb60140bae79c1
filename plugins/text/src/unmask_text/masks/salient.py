"""Salient spans: what a pattern or a scorer of the user's finds (Guu et al. 2020, section 3.4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch

from unmask import Candidates, Draws, Ratio
from unmask_text.masks.units import UnitMask, Units, vocabulary_of, weighted, words_of
from unmask_text.vocabulary import vocabulary


class SalientMask(UnitMask):
    """Hides salient words first, then others, up to the number to hide.

    By a pattern: all words that one match touches are hidden together, matches drawn evenly. By a scorer:
    words are drawn without replacement in proportion to their scores. The text is put together from the
    tokens, so a vocabulary that has thrown case away cannot be searched for capitals.

    Args:
        ratio: share of a document's tokens to hide, in (0, 1), a schedule or a spread of it.
        pattern: a regular expression, such as ``\\d+|[A-Z]\\w+``; searched in the document's text.
        scorer: takes the words of a document and returns a score of at least 0 for each; given by its
            import path (``my_package.my_function``). Exactly one of the two must be given.

    Raises:
        ValueError: a pattern that does not compile, both or neither given, scores of another number than
            the words or below 0, or tokens whose vocabulary is not known.

    Differs from the paper, which hides one span per document (named entities and dates, found by a
    tagger), in that a ratio is hidden; texts are looked at on the CPU.
    """

    def __init__(
        self,
        ratio: Ratio = 0.15,
        pattern: str | None = None,
        scorer: Callable[[list[str]], Sequence[float]] | None = None,
    ) -> None:
        super().__init__(ratio)
        if (pattern is None) == (scorer is None):
            raise ValueError("`pattern` or `scorer` must be given, and not both.")
        try:
            self.pattern = re.compile(pattern) if pattern is not None else None
        except re.error as error:
            raise ValueError(f"`pattern` must be a regular expression, but is {pattern!r}: {error}.") from error
        self.scorer = scorer

    def units(self, among: Candidates, draws: Draws) -> Units:
        path, valid = vocabulary_of(among, self), among.valid
        number, ids = words_of(among), among.dense(among.tokens.values)
        units, weights = number.cpu().clone(), torch.zeros(valid.shape)
        for row, length in enumerate(valid.sum(1).tolist()):
            real = valid[row].cpu()
            own = units[row, real].tolist()
            unit, weight = self._look(path, ids[row, valid[row]].tolist(), own)
            if len(set(unit)) < 2 <= len(set(own)):  # one match covers everything
                unit = own
            units[row, real], weights[row, real] = torch.tensor(unit), torch.tensor(weight)
            assert len(unit) == length
        return Units(units.to(number.device), weighted(weights.to(number.device), draws))

    def _look(self, path: str, ids: list[int], number: list[int]) -> tuple[list[int], list[float]]:
        """Units and weights of one document's tokens."""
        named = vocabulary(path)
        if self.pattern is None:
            assert self.scorer is not None
            distinct = sorted(set(number))
            scores = list(self.scorer(named.words(ids, number)))
            if len(scores) != len(distinct) or any(not score >= 0 for score in scores):
                raise ValueError(f"`scorer` must give {len(distinct)} scores of at least 0, but gave {scores}.")
            score_of = dict(zip(distinct, scores, strict=True))
            return number, [float(score_of[word]) for word in number]
        text, starts = "", []
        for id in ids:
            piece, spaced = named.piece(id)
            text += " " if spaced and text else ""
            starts.append(len(text))
            text += piece
        ends = [start + len(named.piece(id)[0]) for start, id in zip(starts, ids, strict=True)]
        units, weights = list(number), [0.0] * len(ids)
        last: set[int] = set()
        for match in self.pattern.finditer(text):
            touched = {
                word
                for word, start, end in zip(number, starts, ends, strict=True)
                if start < match.end() and end > match.start()
            } - last
            if touched:
                low = min(touched)
                for place, word in enumerate(number):
                    if word in touched:
                        units[place], weights[place] = low, 1.0
                last |= touched
        return units, weights
