"""Vocabulary corruption: a hidden token is shown as [MASK], as any token of the vocabulary, as another hidden
one, or as itself (BERT, Devlin et al. 2018, section 3.1; swaps: Di Liello et al. 2021, arXiv:2104.09694)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unmask import KEPT, RANDOM, TOKEN, Corruption, Mask, Tokens
from unmask.api import inside

SWAPPED = 5
"""A hidden place that changes its token with another one of its document; follows core's `FILLED`."""


class VocabularyCorruption(Corruption):
    """How hidden tokens are shown to the encoder, as shares that sum to 1.

    Random tokens are drawn evenly from the vocabulary, not from the document: ``mask.donor`` holds ids
    instead of places. Swapped tokens change places in pairs within their document (for the odd one out
    there is no partner: it is kept); the encoder sees which tokens are hidden, but not where.

    Args:
        drop: not shown at all (MAE-LM).
        token: shown as [MASK]. BERT: 0.8.
        random: shown as a random id in [first_id, vocab_size). BERT: 0.1.
        keep: shown as they are. BERT: 0.1.
        swap: exchanged in pairs.
        vocab_size: of the tokenizer; None: filled in by the method, from its encoder.
        first_id: the lowest id to draw; above 0 to spare special tokens. BERT spares none.
        per_span: whether neighbouring hidden tokens are all shown the same way (SpanBERT, section 3.1).

    Raises:
        ValueError: a share outside [0, 1], a sum other than 1, ``drop`` other than 0 or 1, ``first_id`` outside
            the vocabulary; when called, ``random`` without a vocabulary to draw from.
    """

    def __init__(
        self,
        drop: float = 0.0,
        token: float = 0.0,
        random: float = 0.0,
        keep: float = 0.0,
        swap: float = 0.0,
        vocab_size: int | None = None,
        first_id: int = 0,
        per_span: bool = False,
    ) -> None:
        inside("[0, 1]", swap=swap)
        # Checked by the parent, to whom a swapped token is one more that is shown as a token of the document.
        super().__init__(drop, token, random, keep + swap)
        if first_id < 0 or (vocab_size is not None and first_id >= vocab_size):
            raise ValueError(f"`first_id` must be in [0, vocab_size = {vocab_size}), but is {first_id}.")
        self.keep, self.swap = keep, swap
        self.vocab_size, self.first_id, self.per_span = vocab_size, first_id, per_span

    def of(self, vocab_size: int) -> VocabularyCorruption:
        """The same, drawing from ``vocab_size`` tokens where it does not say from how many."""
        if self.vocab_size is not None:
            return self
        names = ("drop", "token", "random", "keep", "swap", "first_id", "per_span")
        return VocabularyCorruption(**{name: getattr(self, name) for name in names}, vocab_size=vocab_size)

    def shown(self, tokens: Tokens, mask: Mask) -> Mask:
        """The mask with ``show`` and ``donor`` filled in; ``donor`` holds ids, and lots where places are swapped."""
        if mask.parts is not None or self.drop or self.token == 1:
            return super().shown(tokens, mask)
        draws = mask.streams().named("corruption").over(tokens)  # [B, N] or [T]
        lot = draws.uniform()
        if self.per_span:
            lot = lot.gather(-1, _beginnings(mask.hidden, tokens.offsets))
        show = torch.full_like(mask.hidden, KEPT, dtype=torch.int8)
        show[lot < self.token + self.random + self.swap] = SWAPPED
        show[lot < self.token + self.random] = RANDOM
        show[lot < self.token] = TOKEN
        donor = None
        if self.random:
            if self.vocab_size is None:
                raise ValueError("`vocab_size` must be given to show random tokens, but is None.")
            donor = self.first_id + draws.integers(self.vocab_size - self.first_id)
        if self.swap:
            lots = draws.integers(2**31)
            donor = lots if donor is None else torch.where(show == SWAPPED, lots, donor)
        return replace(mask, show=show, donor=donor)


def shown_ids(ids: Tensor, mask: Mask, offsets: Tensor, mask_id: int) -> Tensor:
    """What the encoder reads where all places are shown: packed ``ids`` ``[T]`` with hidden ones replaced.

    Args:
        ids: packed token ids.
        mask: packed, with ``show``.
        offsets: ``[B + 1]`` of the documents.
        mask_id: of [MASK].
    """
    assert mask.show is not None
    shown = ids.masked_fill(mask.hidden & (mask.show == TOKEN), mask_id)
    if mask.donor is None:
        return shown
    shown = torch.where(mask.hidden & (mask.show == RANDOM), mask.donor, shown)
    places = (mask.hidden & (mask.show == SWAPPED)).nonzero().squeeze(1)  # [S]
    if len(places):
        partners = _partners(places, mask.donor[places], offsets)
        shown[places] = ids[partners]
    return shown


def _beginnings(hidden: Tensor, offsets: Tensor | None) -> Tensor:
    """The first place of the run that each hidden place ``[B, N]`` or ``[T]`` belongs to; runs end with documents."""
    starts = hidden.clone()
    starts[..., 1:] &= ~hidden[..., :-1]
    if offsets is not None:
        firsts = offsets[:-1][offsets.diff() > 0]
        starts[firsts] = hidden[firsts]
    place = torch.arange(hidden.shape[-1], device=hidden.device).expand_as(hidden)
    return torch.where(starts, place, 0).cummax(-1).values


def _partners(places: Tensor, lots: Tensor, offsets: Tensor) -> Tensor:
    """Another of ``places`` of the same document for each, in pairs, as ``lots`` order them; its own for an odd one."""
    document = torch.searchsorted(offsets, places, right=True)  # [S]
    order = lots.argsort(stable=True)
    order = order[document[order].argsort(stable=True)]  # by document, then by lot
    count = document.bincount(minlength=len(offsets) + 1)
    place = torch.arange(len(order), device=places.device)
    rank = place - (count.cumsum(0) - count)[document[order]]
    other = torch.where(rank % 2 == 0, place + 1, place - 1)
    other = torch.where((rank % 2 == 0) & (rank + 1 == count[document[order]]), place, other)
    return torch.empty_like(places).index_copy_(0, order, places[order[other]])
