"""Teachers: features of another encoder are the right answers (data2vec, Baevski et al. 2022, arXiv:2202.03555;
"A Unified View of Masked Image Modeling", Peng et al. 2022, arXiv:2210.10615)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Encoder, Target, Tokenizer
from unmask.step import Given
from unmask.structures import Latent, Mask, Places, Tokens
from unmask.support.checks import at_least

Normalize = Literal["layer", "deviation", "length", "none"]
Sees = Literal["all", "visible", "hidden"]
EPSILON = 1e-6


class Teacher(Target):
    """What a teacher's features are, whoever the teacher is: which layers, how normed, of what it is shown.

    Features of one layer are its codes, each normed by itself. Those of several layers stand side by side,
    ``[B, M, L * D]``. Those of the ``top`` K layers are ``norm(mean of layer-norm(codes of a layer))``, as in data2vec.

    Args:
        layer: whose codes, in [1, its number of layers], as they leave it; a list of them; None: the last one's, after
            the encoder's final norm.
        top: mean over the last K layers in place of ``layer``; None: no mean.
        normalize: of each code: ``layer`` norm without scale and shift, ``(x - mean) / sqrt(unbiased variance + 1e-6)``
            (``deviation``), its ``length`` set to 1, or ``none``.
        sees: ``all`` places, the ``visible`` ones alone, or the ``hidden`` ones alone; only places that it has seen may
            be asked for.
        tokenizer: cuts the batch for the teacher, where it needs other pixels or another size than the student; it must
            give as many tokens. None: the teacher gets the student's tokens.
        pool: one feature for each sample, to be asked once per ``sample``: ``mean``, ``max``, or ``cls`` for a class
            token. None: a feature for each asked place.

    Raises:
        ValueError: a word or number out of range; ``layer`` beside ``top``; when called, places that the teacher has
            not seen, or a tokenizer that gives another number of tokens.
    """

    def __init__(
        self,
        layer: int | list[int] | None = None,
        top: int | None = None,
        normalize: Normalize = "layer",
        sees: Sees = "all",
        tokenizer: Tokenizer | None = None,
        pool: Literal["mean", "max", "cls"] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, top=top)
        if layer is not None and top is not None:
            raise ValueError(f"`layer` must be left out when `top` is given, but is {layer}; nearest: null.")
        if isinstance(layer, list) and not layer:
            raise ValueError("`layer` must name at least one layer, but is an empty list; nearest: null.")
        for name, word, words in (
            ("normalize", normalize, ("layer", "deviation", "length", "none")),
            ("sees", sees, ("all", "visible", "hidden")),
            ("pool", pool, (None, "mean", "max", "cls")),
        ):
            if word not in words:
                raise ValueError(f"`{name}` must be one of {', '.join(map(str, words))}, but is {word!r}.")
        self.layer, self.top = layer, top
        self.normalize = normalize
        self.sees = sees
        self.tokenizer = tokenizer
        self.pool = pool

    @property
    @abstractmethod
    def encoder(self) -> Encoder:
        """The teacher's network."""

    def check(self, encoder: Encoder) -> Encoder:
        """The encoder, which has the layers that are asked for.

        Raises:
            ValueError: it has not.
        """
        if self.top is not None and self.top > encoder.num_layers:
            raise ValueError(
                f"`top` must be in [1, {encoder.num_layers}], the teacher's layers, but is {self.top}; "
                f"nearest: {encoder.num_layers}."
            )
        for layer in self._layers(encoder):
            if layer is not None:
                encoder.depth(layer)
        return encoder

    def train(self, mode: bool = True) -> Teacher:
        return super().train(False)

    @torch.no_grad()
    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        tokens = self._own(tokens, given)
        latents = self.encoder.codes_of(tokens, self._shown(mask), self._layers(self.encoder))
        if self.pool is not None:
            codes = [latent.pool(self.pool, tokens.places)[:, None] for latent in latents]  # L x [B, 1, D]
        else:
            codes = [self._asked(latent, mask) for latent in latents]  # L x [B, M, D]
        if self.top is not None:
            each = [F.layer_norm(one.float(), one.shape[-1:]) for one in codes]
            return self._normed(torch.stack(each).mean(0))
        return torch.cat([self._normed(one) for one in codes], dim=-1) if len(codes) > 1 else self._normed(codes[0])

    def _layers(self, encoder: Encoder) -> Sequence[int | None]:
        if self.top is not None:
            return range(encoder.num_layers - self.top + 1, encoder.num_layers + 1)
        return self.layer if isinstance(self.layer, list) else [self.layer]

    def _own(self, tokens: Tokens, given: Given | None) -> Tokens:
        """The tokens that the teacher is given, all of them."""
        if self.tokenizer is None or given is None:
            return tokens
        own = self.tokenizer(given.batch)
        if own.num_tokens != tokens.num_tokens:
            raise ValueError(
                f"`tokenizer` of the teacher must give {tokens.num_tokens} tokens, as the student's does, but gives "
                f"{own.num_tokens}."
            )
        return own

    def _shown(self, mask: Mask) -> Mask | None:
        """What of them it sees; None: all."""
        if self.sees == "all":
            return None
        return replace(mask, show=None, donor=None) if self.sees == "visible" else mask.complement

    def _asked(self, latent: Latent, mask: Mask) -> Tensor:
        """Codes of the asked places."""
        if self.sees == "all":
            return mask.asked.gather(latent.values)
        if latent.seen is None or not _same(latent.seen, mask.asked):
            raise ValueError(
                f"`ask` must be {self.sees!r} for a teacher that sees {self.sees} places alone, but is not."
            )
        return latent.values

    def _normed(self, codes: Tensor) -> Tensor:
        if self.normalize == "layer":
            return F.layer_norm(codes.float(), codes.shape[-1:])
        if self.normalize == "deviation":
            codes = codes.float()
            return (codes - codes.mean(-1, keepdim=True)) / (codes.var(-1, keepdim=True) + EPSILON).sqrt()
        return F.normalize(codes.float(), dim=-1) if self.normalize == "length" else codes


def _same(seen: Places, asked: Places) -> bool:
    return seen.index.shape == asked.index.shape and torch.equal(seen.index, asked.index)
