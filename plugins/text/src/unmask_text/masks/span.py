"""Spans of whole words (SpanBERT, Joshi et al. 2020, section 3.1)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unmask import Candidates, Draws, Layout, Mask, Ratio
from unmask.masks import SpanMask
from unmask_text.layout import Words
from unmask_text.masks.units import as_mask, numbered, whole_units, words_of


class WordSpanMask(SpanMask):
    """Hides spans of whole words one after another until the next word would exceed the number to hide.

    A span has l words with probability proportional to ``p (1 - p)^(l - 1)``, l from 1 to ``length``: with
    the paper's 0.2 and 10 a mean of 3.8 words. It starts at the beginning of a word, evenly among those from
    which it lies inside the document. Spans that overlap or touch make a longer one.

    Args:
        ratio: share of a document's tokens to hide, in (0, 1), a schedule or a spread of it. The paper's.
        length: words in a span at most, at least 1.
        geometric: p, in (0, 1); None: all spans have ``length`` words.
        unit: ``word``, or ``token``: as core's `SpanMask`.

    Raises:
        ValueError: an argument outside its range; words asked for of tokens without word numbers; a
            document of one word.

    Differs from the released code in that no word is cut where the number to hide is reached.
    """

    def __init__(
        self,
        ratio: Ratio = 0.15,
        length: int = 10,
        geometric: float | None = 0.2,
        unit: Literal["word", "token"] = "word",
    ) -> None:
        super().__init__(ratio, length, geometric)
        if unit not in ("word", "token"):
            raise ValueError(f"`unit` must be 'word' or 'token', but is {unit!r}.")
        self.unit = unit

    def check(self, layout: Layout, num_tokens: int, valid: Tensor | None) -> None:
        super().check(layout, num_tokens, valid)
        if self.unit == "word" and not isinstance(layout, Words):
            raise ValueError(f"`unit` must be 'token' for tokens on a {layout}, which has no words, but is 'word'.")

    def sample(  # type: ignore[override]  # a mask that counts by a rule of its own
        self, among: Candidates, draws: Draws
    ) -> Tensor | Mask:
        if self.unit == "token":
            return super().sample(among, draws)
        valid, counts, number = among.valid, among.counts, words_of(among)
        unit, first = numbered(number, valid)  # [B, N]
        num_words = first.sum(1, keepdim=True)  # [B, 1]
        # Of each word (N columns hold up to N of them): the length of a span from there, and its turn.
        share, order = draws.uniform(2, valid.shape[1]).unbind(1)  # [B, N]
        places = torch.arange(valid.shape[1], device=valid.device)
        lengths = self._lengths(share, self.length).minimum(counts[:, None]).minimum(num_words)  # [B, U]
        turn = order + (places + lengths > num_words) + (places >= num_words)
        turn = turn.argsort(1).argsort(1)

        # A word is hidden in the turn of the first span that covers it, words of a span in order.
        reach = min(self.length, valid.shape[1])
        key = torch.full_like(turn, valid.shape[1] * reach)
        for step in range(reach):
            covered = (lengths > step) & (places + step < num_words)
            cell = (turn * reach + step).masked_fill(~covered, valid.shape[1] * reach).roll(step, 1)
            key = torch.minimum(key, cell)
        return as_mask(whole_units(number, key.gather(1, unit).double(), counts, valid, skip=False))
