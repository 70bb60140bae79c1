"""InforMask: of several masks, the one that hides most information (Sadeq et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask import Candidates, Draws, Mask, Ratio
from unmask.api import at_least
from unmask_text.counting.tables import read_table
from unmask_text.masks.hashing import find
from unmask_text.masks.units import UnitMask, Units, as_mask, whole_units, words_of


class InforMask(UnitMask):
    """Draws several whole-word masks and keeps, per document, the one with the greatest relevance.

    The relevance of a mask is the sum of the pointwise mutual information of each hidden token with each
    visible one, of pairs no further apart than the count's window. The PMI of pairs was counted once over
    the corpus, see `unmask_text.counting.pairs`; pairs too rare to be counted have 0.

    Args:
        counts: the file that the count has written.
        ratio: share of a document's tokens to hide, in (0, 1), a schedule or a spread of it.
        num_candidates: masks drawn per document, at least 2.

    Raises:
        ValueError: a count below 2, no such file, or one counted with another vocabulary than the batch's.

    Differs from the paper in that words are hidden as wholes and pairs are looked up within a window,
    which costs ``window`` look-ups per token instead of as many as the document is long.
    """

    pairs: Tensor
    pmi: Tensor

    def __init__(self, counts: str, ratio: Ratio = 0.15, num_candidates: int = 30) -> None:
        super().__init__(ratio)
        at_least(2, num_candidates=num_candidates)
        self.num_candidates = num_candidates
        self.table = read_table(counts, "pairs")
        self.window = int(self.table.about["window"])
        self.num_ids = int(self.table.about["num_ids"])
        self.register_buffer("pairs", torch.from_numpy(self.table.arrays["pairs"]), persistent=False)
        self.register_buffer("pmi", torch.from_numpy(self.table.arrays["pmi"]), persistent=False)

    def units(self, among: Candidates, draws: Draws) -> Units:
        """Of one mask for each candidate: all rows of the batch, ``num_candidates`` times over."""
        keys = draws.uniform(self.num_candidates, among.valid.shape[1])  # [B, C, N]
        return Units(words_of(among).repeat(self.num_candidates, 1), keys.transpose(0, 1).flatten(0, 1))

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        self.table.check(getattr(among.layout, "vocabulary", None))
        times, valid = self.num_candidates, among.valid
        number, key = self.units(among, draws)
        hidden = whole_units(number, key, among.counts.repeat(times), valid.repeat(times, 1))
        hidden = hidden.view(times, *valid.shape)  # [C, B, N]
        best = self.relevance(hidden, among.dense(among.tokens.values), valid).argmax(0)  # [B]
        return as_mask(hidden[best, torch.arange(len(best), device=best.device)])

    def relevance(self, hidden: Tensor, ids: Tensor, valid: Tensor) -> Tensor:
        """The sum of PMI between hidden and visible tokens ``[C, B]``.

        Args:
            hidden: ``[C, B, N]`` bool.
            ids: ``[B, N]``.
            valid: ``[B, N]`` bool, False at padding.
        """
        total = torch.zeros(hidden.shape[:2], device=ids.device)
        for distance in range(1, min(self.window, ids.shape[1] - 1) + 1):
            one, other = ids[:, :-distance], ids[:, distance:]
            place = find(self.pairs, torch.minimum(one, other) * self.num_ids + torch.maximum(one, other))
            both = (place >= 0) & valid[:, :-distance] & valid[:, distance:]
            pmi = torch.where(both, self.pmi[place.clamp(min=0)] if len(self.pmi) else 0.0, 0.0)  # [B, N - d]
            total += (pmi * (hidden[..., :-distance] != hidden[..., distance:])).sum(-1)
        return total
