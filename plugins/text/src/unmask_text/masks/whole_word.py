"""Whole-word mask: all tokens of a word or none (BERT's later release; Cui et al. 2019)."""

from __future__ import annotations

from unmask import Candidates, Draws, Ratio
from unmask_text.masks.units import UnitMask, Units, words_of


class WholeWordMask(UnitMask):
    """Hides words drawn evenly without replacement; how many is said in `UnitMask`.

    Args:
        ratio: share of a document's tokens to hide, in (0, 1), a schedule or a spread of it: BERT's 15 %.
    """

    def __init__(self, ratio: Ratio = 0.15) -> None:
        super().__init__(ratio)

    def units(self, among: Candidates, draws: Draws) -> Units:
        return Units(words_of(among), draws.uniform(among.valid.shape[1]))
