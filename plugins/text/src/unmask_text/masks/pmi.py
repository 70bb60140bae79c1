"""PMI mask: collocations are hidden as wholes (PMI-Masking, Levine et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask import Candidates, Draws, Ratio
from unmask_text.counting.tables import read_table
from unmask_text.masks.hashing import find, ngram_hashes, word_hashes
from unmask_text.masks.units import UnitMask, Units, numbered, words_of


class PMIMask(UnitMask):
    """Hides units drawn evenly: collocations of a corpus, and the words outside of them.

    A document is cut from left to right, the longest collocation first. Which n-grams are collocations was
    counted once over the corpus, see `unmask_text.counting.collocations`.

    Args:
        counts: the file that the count has written.
        ratio: share of a document's tokens to hide, in (0, 1), a schedule or a spread of it. The paper's.

    Raises:
        ValueError: no such file, or one counted with another vocabulary than the batch's.
    """

    def __init__(self, counts: str, ratio: Ratio = 0.15) -> None:
        super().__init__(ratio)
        self.table = read_table(counts, "collocations")
        self.orders = sorted((int(name[1:]) for name in self.table.arrays if name[0] == "n"), reverse=True)
        for n in self.orders:
            self.register_buffer(f"ngrams_{n}", torch.from_numpy(self.table.arrays[f"n{n}"]), persistent=False)

    def units(self, among: Candidates, draws: Draws) -> Units:
        valid, word = among.valid, words_of(among)
        self.table.check(getattr(among.layout, "vocabulary", None))
        unit, first = numbered(word, valid)  # [B, N]
        num_words = first.sum(1)
        hashes = word_hashes(among.dense(among.tokens.values), unit, valid)  # [B, U]
        begins = self._begins(hashes, num_words)  # [B, U]
        # A document that is one collocation from end to end is taken word by word.
        begins |= (begins.sum(1) < 2)[:, None]
        number = (begins.cumsum(1) - 1).gather(1, unit)
        return Units(number, draws.uniform(valid.shape[1]))

    def _begins(self, hashes: Tensor, num_words: Tensor) -> Tensor:
        """Which words begin a unit ``[B, U]``, when the longest collocation is always taken."""
        width = hashes.shape[1]
        places = torch.arange(width, device=hashes.device)
        longest = torch.ones_like(hashes)
        for n in self.orders:
            if n > width:
                continue
            found = find(getattr(self, f"ngrams_{n}"), ngram_hashes(hashes, n)) >= 0  # [B, U - n + 1]
            found &= places[: width - n + 1] + n <= num_words[:, None]
            here = longest[:, : width - n + 1]
            here[found & (here == 1)] = n
        # From word to word by whole units: the places on the way from the first are found by doubling.
        jump = (places + longest).clamp(max=width)
        jump = torch.nn.functional.pad(jump, (0, 1), value=width)  # [B, U + 1], the last leads to itself
        begins = torch.zeros_like(jump, dtype=torch.bool)
        begins[:, 0] = True
        for _ in range(width.bit_length()):
            reached = torch.zeros_like(jump).scatter_add_(1, jump, begins.long())
            begins = begins | (reached > 0)
            jump = jump.gather(1, jump)
        return begins[:, :width] & (places < num_words[:, None])
