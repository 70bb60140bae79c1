"""wav2vec 2.0's right answers: quantised features of the asked frames (Baevski et al. 2020, arXiv:2006.11477)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from unmask import Given, Mask, Schedule, Target, Tokens, at
from unmask_audio.speech.quantizer import GumbelQuantizer


class QuantizedTarget(Target):
    """Quantised features of the asked frames, projected: ``[B, M, T]``.

    Features are those of the encoder's stem, as its projection norms them. What was chosen is left for losses and
    terms: ``ids`` ``[B, M]`` and ``perplexity``.

    Args:
        quantizer: of features.
        width: of what it makes.
        target_width: T.
        temperature: of the Gumbel softmax, above 0, or a schedule of it.
        dropout: of features, in [0, 1).

    Raises:
        ValueError: when called, codes of an encoder without a stem.
    """

    learned = True

    def __init__(
        self,
        quantizer: GumbelQuantizer,
        width: int,
        target_width: int,
        temperature: float | Schedule = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.quantizer = quantizer
        self.proj = nn.Linear(width, target_width)
        self.temperature = temperature
        self._encoder: tuple[Any, ...] = ()

    @property
    def num_entries(self) -> int:
        """G V, of all codebooks."""
        return self.quantizer.entries.shape[:2].numel()

    def start(self, model: Any) -> None:
        self._encoder = (model.encoder,)  # not a part of this target

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        if given is None or given.latent is None or given.latent.features is None:
            raise ValueError("QuantizedTarget needs features of an encoder with a stem, but was given none.")
        asked = mask.asked
        hidden = asked.gather(self._encoder[0].normed(given.latent.features))  # [B, M, C]
        temperature = at(self.temperature, given.progress)
        noise = mask.streams().named("entries")
        quantized = self.quantizer(self.dropout(hidden), asked.valid, temperature, noise)
        given.shown.made.update({"ids": quantized.ids, "perplexity": quantized.perplexity})
        return self.proj(quantized.values)  # [B, M, T]
