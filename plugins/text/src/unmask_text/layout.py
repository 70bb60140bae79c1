"""The layout of text: tokens in a line, of which several in a row may make a word."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask import Sequence


@dataclass(frozen=True, eq=False, repr=False)
class Words(Sequence):
    """Tokens in a line that make words.

    Every mask that works on a sequence works on it; those of this package hide whole words.

    Args:
        number: int64 ``[B, N]``, packed ``[T]``: which word of its document a token belongs to,
            counted from 0 and never falling. What padding holds does not matter.
        vocabulary: path of the ``tokenizer.json`` that says what token ids mean; None: not known.
    """

    number: Tensor
    vocabulary: str | None = None

    def __repr__(self) -> str:
        return "Words"
