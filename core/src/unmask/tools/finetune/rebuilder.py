"""Masked feature modelling in fine-tuning: hidden codes are rebuilt, and the head answers by them (Zhou et al. 2025,
arXiv:2509.13801)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from unmask import seeds
from unmask.draws import Draws
from unmask.masks import RandomMask
from unmask.nn import Transformer
from unmask.structures import Latent, Tokens
from unmask.tools.features.labels import Task

MOST_HEADS = 8


class Rebuilder(nn.Module):
    """One transformer block that restores the codes of hidden tokens from those of the others.

    A share of each sample's codes is replaced by a learned one; the block restores them, and the head that answers by
    the encoder's codes answers by these as well: ``L + weight * L(head(rebuild(codes)))``. Encoder, head and rebuilder
    learn from both; nothing of the rebuilder is used afterwards.

    Args:
        width: D of the codes.
        ratio: share of the tokens whose codes are hidden, in [0, 1).
        seed: of the initialisation, which uses no other random number.

    Differs from the paper in the labels, which are those of the training samples alone: pseudo-labels of another domain
    are not built. The share hidden and the size of the block are ours.
    """

    def __init__(self, width: int, ratio: float, seed: int = 0) -> None:
        super().__init__()
        self.ratio = ratio
        with seeds.seeded(seed, "rebuilder"):
            heads = next(count for count in range(min(MOST_HEADS, width), 0, -1) if width % count == 0)
            self.block = Transformer(width, 1, heads).blocks[0]
            self.token = nn.Parameter(torch.zeros(width))
            nn.init.normal_(self.token, std=0.02)

    @staticmethod
    def check(tokens: Tokens, task: Task) -> None:
        """Refuse what has no map of codes.

        Raises:
            ValueError: labels of whole samples, packed or joint tokens.
        """
        if not task.per_token or tokens.offsets is not None or tokens.parts is not None:
            why = "labels of samples" if not task.per_token else "packed samples or such of several parts"
            raise ValueError(f"`rebuild_weight` must be 0 for {why}, whose head reads no map of codes.")

    def forward(self, latent: Latent, tokens: Tokens, draws: Draws) -> Latent:
        """Codes ``[B, N, D]``, of which some were hidden and restored."""
        codes: Tensor = latent.values
        if self.ratio:
            hidden = RandomMask(self.ratio)(tokens, draws=draws).hidden  # [B, N]
            codes = codes.where(~hidden[..., None], self.token.to(codes.dtype))
        return replace(latent, values=self.block(codes, tokens.valid))
