"""Hiding runs of tokens as wholes: what all masks of this package share."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from unmask import Candidates, Draws, Mask, MaskSampler
from unmask_text.layout import Words


class Units(NamedTuple):
    """Runs of tokens that are hidden together, and the order in which they are tried.

    Args:
        number: int64 ``[B, N]``: which unit a token belongs to, never falling in a row; padding is ignored.
        key: ``[B, N]``: read at each unit's first token; the lowest is tried first.
    """

    number: Tensor
    key: Tensor


class UnitMask(MaskSampler):
    """Hides whole units, in an order that a subclass says (`units`), up to the number to hide.

    Of N tokens, at most ``N - floor(N * (1 - ratio))`` are hidden: a unit that would exceed that is left out
    and the next is tried, as BERT's reference code does with whole words. Where none fits, the first
    is hidden, so a row never is left as it was; it never is hidden as a whole.

    Args:
        ratio: share of a document's tokens to hide, in (0, 1), a schedule or a spread of it.

    Raises:
        ValueError: a ratio outside (0, 1), tokens without word numbers, or a document of one word.
    """

    layouts = (Words,)

    @abstractmethod
    def units(self, among: Candidates, draws: Draws) -> Units:
        """The units of a batch and their order.

        Args:
            among: tokens with their ids and word numbers (see `words_of`), and how many of them to hide.
            draws: a stream for each document.
        """

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        return as_mask(whole_units(*self.units(among, draws), among.counts, among.valid))


def words_of(among: Candidates) -> Tensor:
    """Which word of its document each token belongs to ``[B, N]``, -1 at padding."""
    assert isinstance(among.layout, Words)  # `MaskSampler.check` let nothing else pass
    return among.dense(among.layout.number, -1)


def vocabulary_of(among: Candidates, mask: MaskSampler) -> str:
    """Path of the vocabulary of these tokens.

    Raises:
        ValueError: it is not known.
    """
    path = getattr(among.layout, "vocabulary", None)
    if path is None:
        raise ValueError(f"{type(mask).__name__} needs to know the vocabulary, but the batch names no `tokenizer`.")
    return path


def whole_units(number: Tensor, key: Tensor, counts: Tensor, valid: Tensor, skip: bool = True) -> Tensor:
    """Which tokens are hidden ``[B, N]``: units by rising key, as long as they fit.

    Args:
        number: ``[B, N]`` units of tokens, never falling.
        key: ``[B, N]``, read at a unit's first token.
        counts: ``[B]``, tokens to hide at most.
        valid: ``[B, N]`` bool, False at padding.
        skip: try the units after one that does not fit; False: stop there.

    Raises:
        ValueError: a row of a single unit, which cannot be hidden.
    """
    unit, first = numbered(number, valid)  # [B, N] from 0 without gaps, [B, N] bool
    num_units = first.sum(1)  # [B]
    if bool((num_units < 2).any()):
        raise ValueError(f"A sample must have at least 2 words to hide one, but has {int(num_units.min())}.")
    size = torch.zeros_like(unit).scatter_add_(1, unit, valid.long())  # [B, U], U = N
    keys = torch.full(unit.shape, float("inf"), dtype=key.dtype, device=key.device)
    keys.scatter_reduce_(1, unit, key.masked_fill(~first, float("inf")), "amin")
    order = keys.argsort(dim=1, stable=True)
    sizes = size.gather(1, order)  # [B, U] in the order they are tried, empty ones last

    left = counts.clone()
    waiting = sizes > 0
    taken = torch.zeros_like(waiting)
    while True:
        fits = waiting & (torch.where(waiting, sizes, 0).cumsum(1) <= left[:, None])
        taken |= fits
        left = left - (sizes * fits).sum(1)
        waiting = waiting & ~fits & (sizes <= left[:, None])
        if not skip or not bool(waiting.any()):
            break
    taken[:, 0] |= ~taken.any(1)
    return torch.zeros_like(taken).scatter(1, order, taken).gather(1, unit) & valid


def numbered(number: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Units counted from 0 without gaps ``[B, N]`` (padding: as the last), and which tokens are a unit's first."""
    first = torch.ones_like(valid)
    first[:, 1:] = number[:, 1:] != number[:, :-1]
    first &= valid
    return (first.cumsum(1) - 1).clamp(min=0), first


def as_mask(hidden: Tensor) -> Mask:
    """A mask whose samples may hide different numbers of tokens."""
    counts = hidden.sum(1)
    even = bool((counts == counts[0]).all())
    return Mask(hidden, num_hidden=int(counts[0]) if even else None)


def weighted(weights: Tensor, draws: Draws) -> Tensor:
    """Keys whose rising order is a draw without replacement with probabilities in proportion to ``weights`` ``[B, N]``.

    Exponential keys (Efraimidis & Spirakis 2006): ``-log(u) / weight``. Weights of 0 come last, evenly.
    """
    return -torch.log1p(-draws.uniform(weights.shape[1])) / weights.clamp(min=1e-12)
