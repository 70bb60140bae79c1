"""Time-varying content: function words hidden more or less often as a run goes on (Yang et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask import Candidates, Draws, Linear, Ratio, Schedule, at
from unmask_text.masks.hashing import find, word_hashes
from unmask_text.masks.units import UnitMask, Units, numbered, vocabulary_of, weighted, words_of
from unmask_text.vocabulary import LONGEST_WORD, vocabulary


class FunctionWordMask(UnitMask):
    """Hides whole words, function words with a weight of their own that may be scheduled.

    Words are drawn without replacement with probabilities in proportion to their weights: ``weight`` for
    function words, 1 for all others. The ratio may be scheduled as well: the paper's decay of the
    masking ratio is ``Linear(0.3, 0.15)``.

    Args:
        ratio: share of a document's tokens to hide, in (0, 1), a schedule or a spread of it.
        weight: of function words against other words, at least 0 (0: only where no other word fits), or
            a schedule of it. Default: function words come later.
        words: the function words, in any case; None: scikit-learn's list of 318 English stop words.

    Raises:
        ValueError: a weight below 0, an empty list, or tokens whose vocabulary is not known.

    Differs from the paper, which weights parts of speech by their training loss so far, in that two
    classes of words are weighted by a schedule: no tagger is needed.
    """

    def __init__(
        self,
        ratio: Ratio = 0.15,
        weight: float | Schedule = Linear(0.0, 1.0),
        words: list[str] | None = None,
    ) -> None:
        super().__init__(ratio)
        if not isinstance(weight, Schedule) and not weight >= 0:
            raise ValueError(f"`weight` must be at least 0, but is {weight}.")
        if words is not None and not words:
            raise ValueError("`words` must have at least one word, but is empty.")
        if words is None:
            from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

            words = sorted(ENGLISH_STOP_WORDS)
        self.weight = weight
        self.words = tuple(words)
        self._tables: dict[str, Tensor] = {}

    def units(self, among: Candidates, draws: Draws) -> Units:
        weight = at(self.weight, among.progress)
        if not weight >= 0:
            raise ValueError(f"The scheduled `weight` must be at least 0, but is {weight:g}.")
        valid, number = among.valid, words_of(among)
        unit, _ = numbered(number, valid)
        hashes = word_hashes(among.dense(among.tokens.values), unit, valid)  # [B, U]
        function = (find(self._table(vocabulary_of(among, self)).to(hashes.device), hashes) >= 0).gather(1, unit)
        weights = torch.where(function, weight, 1.0)
        return Units(number, weighted(weights, draws))

    def _table(self, path: str) -> Tensor:
        """Hashes of the function words as this vocabulary writes them, sorted."""
        if path not in self._tables:
            tokenizer = vocabulary(path).tokenizer
            forms = {form for word in self.words for form in (word.lower(), word.capitalize(), word.upper())}
            # With and without a blank before: vocabularies of bytes tell them apart.
            texts = sorted({lead + form for form in forms for lead in ("", " ")})
            ids = {tuple(one.ids) for one in tokenizer.encode_batch(texts, add_special_tokens=False)}
            hashes = []
            for some in (one for one in ids if 0 < len(one) <= LONGEST_WORD):
                row = torch.tensor([some])
                hashes.append(word_hashes(row, torch.zeros_like(row), torch.ones_like(row, dtype=torch.bool))[0, 0])
            self._tables[path] = torch.stack(hashes).unique(sorted=True)
        return self._tables[path]
