"""Targets of graphs: which attribute a hidden node has, and whether two nodes are joined."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask import Given, Mask, Target, Tokens


class OneHotTarget(Target):
    """Which of F attributes each asked node has, ``[M]`` class ids, for cross-entropy.

    Raises:
        ValueError: when called, on features of which not exactly one is 1 and the others 0.
    """

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        values = mask.asked.gather(tokens.values)  # [M, F]
        classes = values.argmax(-1)
        if not torch.equal(values, torch.nn.functional.one_hot(classes, values.shape[-1]).to(values.dtype)):
            raise ValueError("OneHotTarget needs nodes with exactly one feature 1 and the others 0; use ValueTarget.")
        return classes


class EdgeTarget(Target):
    """1 for each asked edge and 0 for the non-edge that an `EdgeDecoder` sets beside it: ``[M, 2]``."""

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        asked = mask.asked.index
        return torch.tensor([1.0, 0.0], device=asked.device).expand(len(asked), 2)
