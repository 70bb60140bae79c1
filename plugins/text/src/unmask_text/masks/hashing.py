"""Words and n-grams of words as 64-bit numbers: the same when counting a corpus and when drawing a mask."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask_text.vocabulary import LONGEST_WORD

_ODD = 0x9E3779B97F4A7C15 - 2**64  # the golden ratio's, as a signed number: multiplication wraps around
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def word_hashes(ids: Tensor, unit: Tensor, valid: Tensor) -> Tensor:
    """A number for each word ``[B, N]`` (in as many of the columns as a row has words; 0 in the others).

    Args:
        ids: ``[B, N]`` token ids.
        unit: ``[B, N]``: the word of each token, from 0 without gaps.
        valid: ``[B, N]`` bool, False at padding.
    """
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    start = torch.full_like(ids, ids.shape[1]).scatter_reduce_(1, unit, places, "amin")
    within = places - start.gather(1, unit)  # 0 at a word's first token
    part = mix(ids * LONGEST_WORD + within.clamp(max=LONGEST_WORD - 1) + 1)
    return torch.zeros_like(ids).scatter_add_(1, unit, part.masked_fill(~valid, 0))


def ngram_hashes(words: Tensor, n: int) -> Tensor:
    """A number for the n words from each on: ``[..., U]`` to ``[..., U - n + 1]``."""
    total = words.shape[-1] - n + 1
    key = torch.full_like(words[..., :total], n)
    for k in range(n):
        key = mix(key + words[..., k : k + total])  # one after another, so that their order counts
    return key


def mix(x: Tensor) -> Tensor:
    """Numbers that look random, one for each int64 (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = x * _ODD
    x = (x ^ ((x >> 30) & (2**34 - 1))) * _FIRST
    x = (x ^ ((x >> 27) & (2**37 - 1))) * _SECOND
    return x ^ ((x >> 31) & (2**33 - 1))


def find(sorted_keys: Tensor, keys: Tensor) -> Tensor:
    """The place of each key in ``sorted_keys``, -1 where it is not among them."""
    if not len(sorted_keys):
        return torch.full_like(keys, -1)
    place = torch.searchsorted(sorted_keys, keys).clamp(max=len(sorted_keys) - 1)
    return torch.where(sorted_keys[place] == keys, place, -1)
