"""From a batch to codes with nothing hidden: what is used of a model once training is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from unmask.joint import encoded
from unmask.parts import Encoder, Tokenizer
from unmask.structures import Latent, Tokens
from unmask.support.nearest import nearest, quoted


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

    def of(self, names: Sequence[str]) -> Embedder:
        """The same of some parts of joint samples alone: the others are not encoded.

        Raises:
            ValueError: no parts, or one that is not there.
        """
        known = self.tokenizer.part_names
        check_parts(names, known)
        if tuple(names) == tuple(known) and len(known) > 1:
            return self
        tokenizer: Any = self.tokenizer
        own = self.encoder.one(names[0]) if len(names) == 1 else None
        if own is not None:
            return Embedder(tokenizer.one(names[0]), own)
        return Embedder(tokenizer.only(names), self.encoder.only(names))

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


def check_parts(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuses parts of samples that are not there.

    Raises:
        ValueError: samples without parts, no names, or an unknown or repeated one.
    """
    if not known:
        raise ValueError(f"`parts` must be left out for samples of one part, but is {', '.join(names)}.")
    for name in names:
        if name not in known:
            near = quoted(nearest(name, known, 1) or known)
            raise ValueError(f"`parts` must be some of {', '.join(known)}, but one is {name!r}; nearest: {near}.")
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"`parts` must be some of {', '.join(known)}, each once, but is {', '.join(names) or 'empty'}."
        )


def _placed(latent: Latent, places: Tokens) -> Latent:
    """The same codes with their places, in every part."""
    parts = latent.parts and {name: _placed(part, places.part(name)) for name, part in latent.parts.items()}
    return replace(latent, places=places, parts=parts)
