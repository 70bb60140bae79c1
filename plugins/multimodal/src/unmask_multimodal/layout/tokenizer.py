"""Box tokenizer: words with the boxes that they lie in on a page (LayoutLMv3, Huang et al. 2022, arXiv:2204.08387)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask import Sequence, Tokenizer, Tokens


class BoxTokenizer(Tokenizer):
    """Ids ``[B, N]`` in a line, with boxes as positions ``[B, N, 4]``: left, top, right, bottom as shares of the page.

    A batch holds ``ids``, ``valid`` (where there is padding) and ``boxes`` in thousandths, int64 in [0, 1000].

    Raises:
        ValueError: when called, a batch without boxes, or boxes outside the page.
    """

    def forward(self, batch: Any) -> Tokens:
        boxes = batch.get("boxes")
        if not isinstance(boxes, Tensor) or boxes.shape[-1:] != (4,):
            raise ValueError("A batch must have `boxes` [B, N, 4] of its words, but has none.")
        if bool((boxes < 0).any()) or bool((boxes > 1000).any()):
            raise ValueError(
                f"`boxes` must be in [0, 1000], thousandths of the page, but are in [{int(boxes.min())}, "
                f"{int(boxes.max())}]."
            )
        return Tokens(batch["ids"], Sequence(), positions=boxes / 1000, valid=batch.get("valid"))

    def raw(self, tokens: Tokens) -> Tensor:
        """A bag of words: how often each id below 8192 is there, as shares ``[B, 8192]``."""
        counts = torch.nn.functional.one_hot(tokens.values % 8192, 8192).float()
        if tokens.valid is not None:
            counts = counts * tokens.valid[..., None]
        return torch.nn.functional.normalize(counts.sum(1), dim=1)
