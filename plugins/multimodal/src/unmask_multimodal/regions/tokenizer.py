"""Region tokenizer: what a detector found in a picture, in no order (LXMERT, Tan & Bansal 2019, arXiv:1908.07490)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unmask import Set, Tokenizer, Tokens


class RegionTokenizer(Tokenizer):
    """Features ``[B, N, V]``, with boxes as positions ``[B, N, 4]``: left, top, right, bottom as shares of the picture.

    A batch holds ``regions``, ``region_boxes`` in [0, 1] and, where there is padding, ``region_valid``. No detector
    comes with this package: features are values like others.

    Raises:
        ValueError: when called, a batch without regions, or without a box for each.
    """

    def forward(self, batch: Any) -> Tokens:
        values, boxes = batch.get("regions"), batch.get("region_boxes")
        if not isinstance(values, Tensor) or values.ndim != 3:
            raise ValueError("A batch must have `regions` [B, N, V], features of what was detected, but has none.")
        if not isinstance(boxes, Tensor) or boxes.shape != (*values.shape[:2], 4):
            have = "none" if boxes is None else tuple(boxes.shape)
            raise ValueError(f"`region_boxes` must be {(*values.shape[:2], 4)}, a box a region, but are {have}.")
        return Tokens(values.float(), Set(), positions=boxes.float(), valid=batch.get("region_valid"))

    def raw(self, tokens: Tokens) -> Tensor:
        """The mean feature of a picture ``[B, V]``."""
        if tokens.valid is None:
            return tokens.values.mean(1)
        real = tokens.valid[..., None]
        return tokens.values.masked_fill(~real, 0).sum(1) / real.sum(1).clamp(min=1)
