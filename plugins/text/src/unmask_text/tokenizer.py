"""Text tokenizer: token ids of documents, made by the data module, as what may be hidden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask import Prediction, Tokenizer, Tokens
from unmask.api import at_least
from unmask_text.drawing import Document, as_html, as_picture, as_text, documents
from unmask_text.layout import Words
from unmask_text.vocabulary import vocabulary


class TextTokenizer(Tokenizer):
    """Ids ``[T]`` with ``offsets`` (packed), or ``[B, N]`` with ``valid`` (dense), on a `Words` layout.

    A batch holds ``ids``, ``word`` (which word of its document a token belongs to) and ``offsets`` or
    ``valid``; text was cut into tokens when the data's cache was built. Special tokens are not among
    them: an encoder puts its own around every document, so no mask can hide one.

    Args:
        file: the ``tokenizer.json`` that says what ids mean, for pictures and files; None: the one that
            the batch names in ``tokenizer``, as those of this package do.
        raw_width: columns of `raw`, at least 1.
        top_k: fillings shown per hidden token, at least 1.

    Raises:
        ValueError: a count below 1, or no such file.
    """

    def __init__(self, file: str | None = None, raw_width: int = 8192, top_k: int = 5) -> None:
        super().__init__()
        at_least(1, raw_width=raw_width, top_k=top_k)
        self.file = vocabulary(file).path if file is not None else None
        self.raw_width = raw_width
        self.top_k = top_k

    def forward(self, batch: Mapping[str, Any]) -> Tokens:
        """Tokens of a batch from a data module of this package, or of one made by hand with its keys."""
        words = Words(batch["word"], self.file or batch.get("tokenizer"))
        return Tokens(batch["ids"], words, valid=batch.get("valid"), offsets=batch.get("offsets"))

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """Running text, a box for each hidden token; other colours for neighbouring words."""
        return [as_picture(document) for document in self._documents(tokens, hidden)]

    def files(
        self, tokens: Tokens, hidden: Tensor | None = None, prediction: Prediction | None = None
    ) -> dict[str, list[bytes]]:
        """``.html`` and ``.txt`` of each document, hidden tokens marked; fillings with their
        probabilities where ``prediction`` can say them.

        A prediction says them by ``logits()``: of ``[M, V]`` (packed) or ``[B, M, V]``.
        """
        documents = self._documents(tokens, hidden, prediction)
        return {
            ".html": [as_html(document).encode() for document in documents],
            ".txt": [as_text(document).encode() for document in documents],
        }

    def raw(self, tokens: Tokens) -> Tensor:
        """A bag of tokens: ``log(1 + count)`` of each id, of length 1 ``[B, raw_width]``.

        Ids beyond ``raw_width`` share columns with those that are equal modulo it.
        """
        column = tokens.values % self.raw_width
        if tokens.offsets is not None:
            owner = torch.arange(tokens.num_samples, device=column.device).repeat_interleave(tokens.offsets.diff())
            real = torch.ones_like(column, dtype=torch.float)
        else:
            owner = torch.arange(len(column), device=column.device)[:, None].expand_as(column).flatten()
            real = torch.ones_like(column) if tokens.valid is None else tokens.valid
            column, real = column.flatten(), real.flatten().float()
        bag = real.new_zeros(tokens.num_samples * self.raw_width)
        bag.index_add_(0, owner * self.raw_width + column, real)
        return torch.nn.functional.normalize(bag.view(-1, self.raw_width).log1p(), dim=1)

    def _documents(self, tokens: Tokens, hidden: Tensor | None, prediction: Prediction | None = None) -> list[Document]:
        assert isinstance(tokens.layout, Words)
        return documents(tokens, tokens.layout, hidden, prediction, self.top_k)
