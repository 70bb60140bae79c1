"""Attention pooling: one vector for all visible places, and where an answer lies (Selfie, Trinh et al. 2019,
arXiv:1906.02940, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.nn import Transformer, sincos
from unmask.nn.transformer import xavier
from unmask.parts import Predictor
from unmask.structures import Latent, Mask, Prediction, Tokens


class AttentionPooledPredictor(Predictor):
    """``answer at place i = W u + P s_i``: u is what a learned query reads of all codes, s_i says where the place lies.

    Query and codes, told where they lie, go through a small transformer; u is what comes of the query. Answers differ
    by their places alone, so all that is known of the sample must be in u.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.
        width: of the transformer.
        depth: its blocks. Paper (from memory): 3.
        num_heads: attention heads; must divide ``width``.

    Differs from the paper in positions: sines and cosines through a learned matrix, there learned rows and columns.

    Raises:
        ValueError: packed tokens.
    """

    def __init__(
        self, encoder_width: int, target_width: int, width: int = 1024, depth: int = 3, num_heads: int = 16
    ) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(encoder_width, width)
        self.query = nn.Parameter(torch.zeros(1, 1, width))
        self.trunk = Transformer(width, depth, num_heads)
        self.head = nn.Linear(width, target_width)
        self.place_head = nn.Linear(width, target_width, bias=False)
        nn.init.normal_(self.query, std=0.02)
        for layer in (self.embed, self.head, self.place_head):
            layer.apply(xavier)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if places.offsets is not None:
            raise ValueError("AttentionPooledPredictor works on dense tokens, but these are packed; pad them.")
        codes = self.embed(latent.values)
        table = sincos(places.layout, mask.hidden.shape[1], self.width, mask.hidden.device)
        positions = table.to(codes.dtype).expand(len(codes), -1, -1)  # [B, N, W]
        codes = codes + (positions if latent.seen is None else latent.seen.gather(positions))  # [B, K, W]
        x = torch.cat([self.query.to(codes.dtype).expand(len(codes), -1, -1), codes], dim=1)
        valid = mask.valid if latent.seen is None else latent.seen.valid
        pooled: Tensor = self.trunk(x, None if valid is None else _true_first(valid))[:, 0]  # [B, W]

        where = self.place_head(mask.asked.gather(positions))  # [B, (G,) M, T]
        whole = self.head(pooled).view(len(pooled), *[1] * (where.ndim - 2), -1)
        return Prediction(whole + where, mask.asked)


def _true_first(valid: Tensor) -> Tensor:
    """``valid`` with a True column in front."""
    return torch.cat([valid.new_ones(len(valid), 1), valid], dim=1)
