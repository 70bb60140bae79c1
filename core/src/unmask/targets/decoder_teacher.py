"""Decoder teacher: what the decoder of a masked autoencoder makes of visible and hidden places (G2SD, Huang et al.
2023, arXiv:2303.04424)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from unmask.frozen import Frozen
from unmask.parts import Encoder, Target
from unmask.predictors import TransformerPredictor, WholePredictor
from unmask.step import Given
from unmask.structures import Mask, Tokens


class DecoderTeacher(Target):
    """States ``[B, M, W]`` of the asked places after some blocks of a trained decoder, which sees the same.

    Encoder and decoder stay frozen, and are left out of checkpoints, see `Frozen`.

    Args:
        encoder: of the teacher, on the same tokens.
        predictor: its decoder; its answers are not computed.
        block: after how many of its blocks, in [1, its depth]. Paper: 4 of 8.
        normalize: ``layer`` norm of each state without scale and shift, or ``none``.

    Raises:
        ValueError: a block or a word out of range.
    """

    def __init__(
        self,
        encoder: Encoder,
        predictor: TransformerPredictor,
        block: int = 4,
        normalize: Literal["layer", "none"] = "layer",
    ) -> None:
        super().__init__()
        depth = len(predictor.trunk.blocks)
        if not 1 <= block <= depth:
            raise ValueError(
                f"`block` must be in [1, {depth}], the decoder's blocks, but is {block}; nearest: {depth}."
            )
        if normalize not in ("layer", "none"):
            raise ValueError(f"`normalize` must be one of layer, none, but is {normalize!r}.")
        self.block = block
        self.normalize = normalize
        self.teacher = Frozen(_Both(encoder, WholePredictor.of(predictor), block))

    def train(self, mode: bool = True) -> DecoderTeacher:
        return super().train(False)

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        states = mask.asked.gather(self.teacher(tokens, replace(mask, show=None, donor=None)))
        return F.layer_norm(states.float(), states.shape[-1:]) if self.normalize == "layer" else states


class _Both(nn.Module):
    def __init__(self, encoder: Encoder, predictor: WholePredictor, block: int) -> None:
        super().__init__()
        self.encoder, self.predictor, self.block = encoder, predictor, block

    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        latent = self.encoder(tokens, mask)
        return self.predictor.states(latent.codes, tokens.places, mask, self.block)
