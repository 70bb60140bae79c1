"""Vocabulary corruption: a hidden token is shown as [MASK], as any token of the vocabulary, as another hidden
one, or as itself (BERT, Devlin et al. 2018, section 3.1; swaps: Di Liello et al. 2021, arXiv:2104.09694)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask import KEPT, RANDOM, TOKEN, Corruption, Mask
from unmask.api import inside

SWAPPED = 4
"""A hidden place that changes its token with another one of its document; follows core's `KEPT`."""


@dataclass(frozen=True)
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

    swap: float = 0.0
    vocab_size: int | None = None
    first_id: int = 0
    per_span: bool = False

    def __post_init__(self) -> None:
        inside("[0, 1]", swap=self.swap)
        # Checked by the parent, to whom a swapped token is one more that is shown as a token of the document.
        Corruption(self.drop, self.token, self.random, self.keep + self.swap)
        if self.first_id < 0 or (self.vocab_size is not None and self.first_id >= self.vocab_size):
            raise ValueError(f"`first_id` must be in [0, vocab_size = {self.vocab_size}), but is {self.first_id}.")

    def of(self, vocab_size: int) -> VocabularyCorruption:
        """The same, drawing from ``vocab_size`` tokens where it does not say from how many."""
        return self if self.vocab_size is not None else replace(self, vocab_size=vocab_size)

    def __call__(self, mask: Mask, generator: torch.Generator | None = None) -> Mask:
        """The mask with ``show`` and ``donor`` filled in; ``donor`` holds ids, and lots where places are swapped."""
        if self.drop or self.token == 1:
            return super().__call__(mask, generator)
        shape, device = mask.hidden.shape, mask.hidden.device
        draw = torch.rand(shape, generator=generator, device=device)
        if self.per_span:
            draw = draw.flatten()[_span_of(mask.hidden)]
        show = torch.full_like(mask.hidden, KEPT, dtype=torch.int8)
        show[draw < self.token + self.random + self.swap] = SWAPPED
        show[draw < self.token + self.random] = RANDOM
        show[draw < self.token] = TOKEN
        donor = None
        if self.random:
            if self.vocab_size is None:
                raise ValueError("`vocab_size` must be given to show random tokens, but is None.")
            donor = torch.randint(self.first_id, self.vocab_size, shape, generator=generator, device=device)
        if self.swap:
            lots = torch.randint(2**62, shape, generator=generator, device=device)
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


def _span_of(hidden: Tensor) -> Tensor:
    """The number of the run of hidden places that each place belongs to, in the shape of ``hidden``."""
    starts = hidden.clone()
    starts[..., 1:] &= ~hidden[..., :-1]
    return (starts.flatten().cumsum(0) - 1).clamp(min=0).view(hidden.shape)


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
