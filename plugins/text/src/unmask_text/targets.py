"""Token target: which token of the vocabulary is hidden (BERT, Devlin et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask import Given, Mask, Prediction, Target, Tokens


class TokenTarget(Target):
    """Ids of the asked tokens, ``[M]`` packed or ``[B, M]``."""

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        return mask.asked.gather(tokens.values)

    def restore(self, prediction: Prediction, tokens: Tokens, mask: Mask) -> Tensor | None:
        """The likeliest ids, ``[M]`` or ``[B, M]``; None where answers are not over a vocabulary."""
        logits = getattr(prediction, "logits", None)
        if logits is None:
            return None
        with torch.no_grad():
            return logits().argmax(-1)


class ReplacedTarget(Target):
    """Whether the encoder is shown another token than the document has: 1, or 0, ``[M]`` packed or ``[B, M]``."""

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        shown = tokens.values if given is None else given.shown.tokens.values
        return mask.asked.gather((shown != tokens.values).long())
