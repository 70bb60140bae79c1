"""wav2vec 2.0's right answers: quantised features of the asked frames (Baevski et al. 2020, arXiv:2006.11477)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask import Mask, Target, Tokens
from unmask_audio.speech.quantizer import GumbelQuantizer, Quantized


class QuantizedTarget(Target):
    """Quantised features of the asked frames, projected: ``[B, M, T]``.

    Args:
        quantizer: of features.
        width: of what it makes.
        target_width: T.
        dropout: of features, in [0, 1).
    """

    def __init__(self, quantizer: GumbelQuantizer, width: int, target_width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.quantizer = quantizer
        self.proj = nn.Linear(width, target_width)

    @property
    def num_entries(self) -> int:
        """G V, of all codebooks."""
        return self.quantizer.entries.shape[:2].numel()

    def quantized(
        self, features: Tensor, valid: Tensor | None, temperature: float, generator: torch.Generator | None
    ) -> Quantized:
        """Of features ``[B, M, C]``, as the projection of the encoder norms them; the rest as `GumbelQuantizer`."""
        return self.quantizer(self.dropout(features), valid, temperature, generator)

    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Of tokens whose values are features ``[B, N, C]``, which the encoder's stem makes.

        Raises:
            ValueError: values of another width, such as samples.
        """
        asked, width = mask.asked, self.quantizer.score.in_features
        if tokens.values.shape[-1] != width:
            raise ValueError(f"Tokens must hold features of width {width}, but hold {tokens.values.shape[-1]} values.")
        return self.proj(self.quantizer(asked.gather(tokens.values), asked.valid).values)
