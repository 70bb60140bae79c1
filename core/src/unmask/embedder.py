"""From a batch to codes with nothing hidden: what is used of a model once training is done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from unmask.joint import encoded
from unmask.parts import Encoder, Tokenizer
from unmask.structures import Latent, Tokens


class Embedder(nn.Module):
    """A tokenizer and an encoder that sees all it cuts. Both are the given ones, no copies.

    Args:
        tokenizer: cuts a batch into tokens.
        encoder: makes codes of them.
    """

    def __init__(self, tokenizer: Tokenizer, encoder: Encoder) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.training = encoder.training

    def forward(self, batch: Any, layer: int | None = None) -> Latent:
        """Codes of a batch, values ``[B, N, D]``, packed ``[T, D]``; ``layer`` as in `Encoder.forward`."""
        return self.coded(self.tokenizer(batch), layer)

    def coded(self, tokens: Tokens, layer: int | None = None) -> Latent:
        """The same of a batch that is cut already."""
        return _placed(encoded(self.encoder, tokens, None, layer), tokens.places)

    @property
    def width(self) -> int:
        """D, the width of its codes."""
        return self.encoder.width

    @property
    def num_layers(self) -> int:
        """How many layers have codes of their own."""
        return self.encoder.num_layers

    def depth(self, layer: int | None) -> int:
        """How many layers run to answer for ``layer``; ValueError for one that is not there."""
        return self.encoder.depth(layer)


def _placed(latent: Latent, places: Tokens) -> Latent:
    """The same codes with their places, in every part."""
    parts = latent.parts and {name: _placed(part, places.part(name)) for name, part in latent.parts.items()}
    return replace(latent, places=places, parts=parts)
