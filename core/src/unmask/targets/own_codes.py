"""Own codes: hidden places are what the encoder itself makes of them, and both sides learn (Selfie, Trinh et al. 2019,
arXiv:1906.02940; CPC, van den Oord et al. 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.parts import Target
from unmask.step import Given
from unmask.structures import Mask, Tokens


class OwnCodeTarget(Target):
    """Codes of the hidden places ``[B, M, D]`` by the encoder, which sees the hidden places alone, with gradient.

    The right answers move with the encoder, so a loss that only asks for likeness lets all codes become one: use it
    with a loss that tells answers apart, such as `InfoNCELoss`.

    Raises:
        ValueError: when called, answers asked for elsewhere than at hidden places, or an encoder that makes other codes
            than one for each place.
    """

    learned = True

    def __init__(self) -> None:
        super().__init__()
        self._encoder: tuple[Any, ...] = ()

    def start(self, model: Any) -> None:
        self._encoder = (model.encoder,)  # not a part of this target

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        latent = self._encoder[0](tokens, mask.complement)
        if latent.seen is None or not _same(latent.seen.index, mask.asked.index):
            raise ValueError(
                "`ask` must be 'hidden' for `own-codes`, and the encoder make one code for each place that it sees."
            )
        codes: Tensor = latent.values
        return codes


def _same(seen: Tensor, asked: Tensor) -> bool:
    return seen.shape == asked.shape and torch.equal(seen, asked)
