"""Packing: documents of any lengths in one row of tokens, none of it padding (Krell et al. 2021, arXiv:2107.02027).

Unlike there, documents never see each other: see `unmask_text.encoders.attention`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unmask import Mask, Places, Tokens


@dataclass(frozen=True, eq=False)
class Packing:
    """One row of R tokens: the documents, shortest first, each between a class and a separator token.

    Sorted, documents of equal length are neighbours, and attend in one call.

    Args:
        runs: (number of documents, tokens in each of them with its two special ones), in the order of the row.
        first: ``[B]`` place in the row of each document's class token.
        last: ``[B]`` of its separator.
        rows: ``[K]`` of each token, in the order they were given.
    """

    runs: list[tuple[int, int]]
    first: Tensor
    last: Tensor
    rows: Tensor

    @classmethod
    def of(cls, lengths: Tensor) -> Packing:
        """The packing of documents with these numbers of tokens, ``[B]`` int64."""
        order = lengths.argsort(stable=True)
        ends = (lengths[order] + 2).cumsum(0)
        last = torch.empty_like(ends).scatter_(0, order, ends - 1)
        first = last - lengths - 1
        document = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)  # [K]
        rank = torch.arange(len(document), device=lengths.device) - (lengths.cumsum(0) - lengths)[document]
        distinct, counts = lengths.unique(return_counts=True)
        runs = [(count, length + 2) for count, length in zip(counts.tolist(), distinct.tolist(), strict=True)]
        return cls(runs, first, last, first[document] + 1 + rank)

    @property
    def num_rows(self) -> int:
        """R, special tokens included."""
        return sum(count * length for count, length in self.runs)

    @property
    def longest(self) -> int:
        """Tokens of the longest document, special ones included."""
        return self.runs[-1][1]

    @cached_property
    def boundaries(self) -> Tensor:
        """``[B + 1]`` int32, where each document of the row begins and the last one ends."""
        lengths = torch.tensor([length for count, length in self.runs for _ in range(count)], dtype=torch.int32)
        return torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0)).to(self.rows.device)

    def lay(self, values: Tensor, first: Tensor | int, last: Tensor | int) -> Tensor:
        """Values ``[K, ...]`` in the row, with those of class tokens and separators: ``[R, ...]``."""
        row = values.new_empty(self.num_rows, *values.shape[1:])
        row[self.first] = torch.as_tensor(first, dtype=values.dtype, device=values.device)
        row[self.last] = torch.as_tensor(last, dtype=values.dtype, device=values.device)
        return row.index_copy(0, self.rows, values)

    def rectangle(self) -> tuple[Tensor, Tensor]:
        """The padded form, for models that cannot read a row: ``[B, L]`` places in the row of each
        document's tokens, document by document, and which of them are real."""
        places = self.first[:, None] + torch.arange(self.longest, device=self.first.device)
        real = places <= self.last[:, None]
        return places.where(real, self.first[:, None]), real


def packed(tokens: Tokens, mask: Mask | None = None) -> tuple[Tokens, Mask | None]:
    """Dense tokens, and their mask, as packed ones; packed ones as they are."""
    if tokens.offsets is not None:
        return tokens, mask
    like = tokens.values if mask is None else mask.hidden  # [B, N]
    valid = tokens.valid if tokens.valid is not None else like.new_ones(like.shape[:2], dtype=torch.bool)
    offsets = torch.nn.functional.pad(valid.sum(1).cumsum(0), (1, 0))
    values = None if tokens.values is None else tokens.values[valid]
    flat = Tokens(values, tokens.layout, offsets=offsets)
    if mask is None:
        return flat, None
    parts: dict[str, Any] = {
        name: None if (part := getattr(mask, name)) is None else part[valid]
        for name in ("hidden", "show", "donor", "weight")
    }
    parts["predict"] = _packed_places(mask, valid)
    return flat, replace(mask, **parts, valid=None, num_hidden=None, num_predict=None)


def _packed_places(mask: Mask, valid: Tensor) -> Tensor | Places | None:
    """Where answers are asked, as packed places."""
    if not isinstance(mask.predict, Places):
        return None if mask.predict is None else mask.predict[valid]
    place = (valid.flatten().cumsum(0) - 1).view(valid.shape)  # [B, N] in the packed form
    index = mask.predict.gather(place)
    return Places(index.flatten() if mask.predict.valid is None else index[mask.predict.valid])


def padded(values: Tensor, shape: torch.Size, real: Tensor | None) -> Tensor:
    """Packed codes ``[K, D]`` as rows ``[*shape, D]``, zero where ``real`` is False; None: nowhere."""
    if real is None:
        return values.view(*shape, values.shape[-1])
    return values.new_zeros(*shape, values.shape[-1]).index_put((real,), values)
