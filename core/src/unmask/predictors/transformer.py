"""Transformer predictor: codes and mask tokens through a light trunk (MAE, He et al. 2021, section 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.nn import Transformer, sincos
from unmask.nn.transformer import xavier
from unmask.parts import Predictor
from unmask.structures import Latent, Mask, Places, Prediction, Tokens
from unmask.support.checks import at_least


class TransformerPredictor(Predictor):
    """One mask token per asked place, with its position, reads the codes that the encoder made.

    Serves MAE (all hidden places at once), VideoMAE V2 (some of them) and I-JEPA (groups that do
    not see each other). Self-attention does not depend on the order of its tokens, so codes and
    mask tokens are concatenated, not scattered to their places.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.
        width: of the trunk.
        depth: blocks of the trunk.
        num_heads: attention heads of the trunk; must divide ``width``.
        use_prefix: whether the encoder's class and register tokens take part, as in MAE.
        position_noise: sigma of stochastic positions, at least 0 (StoP, Bar et al. 2023, arXiv:2308.00566): in
            training a mask token gets ``A n`` with ``n ~ N(0, sigma I)``, besides its position. A is the weight that
            codes enter by, so noise cannot be unlearned without unlearning codes.

    Raises:
        ValueError: a sigma below 0; packed tokens, which have no rows to put side by side.
    """

    def __init__(
        self,
        encoder_width: int,
        target_width: int,
        width: int = 512,
        depth: int = 8,
        num_heads: int = 16,
        use_prefix: bool = True,
        position_noise: float = 0.0,
    ) -> None:
        super().__init__()
        at_least(0, position_noise=position_noise)
        self.width = width
        self.position_noise = position_noise
        self.use_prefix = use_prefix
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.trunk = Transformer(width, depth, num_heads)
        self.head = nn.Linear(width, target_width)
        nn.init.normal_(self.mask_token, std=0.02)
        self.embed.apply(xavier)
        self.head.apply(xavier)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if places.offsets is not None:
            raise ValueError("TransformerPredictor works on dense tokens, but these are packed; pad them.")
        asked = mask.asked
        positions = self._positions(mask, places)  # [B, N, W]

        # The codes, each told where it lies.
        codes = self.embed(latent.values)
        codes = codes + (positions if latent.seen is None else latent.seen.gather(positions))  # [B, K, W]
        valid = mask.valid if latent.seen is None else latent.seen.valid
        if self.use_prefix and latent.prefix is not None:
            codes = torch.cat([self.embed(latent.prefix), codes], dim=1)
            valid = _true_before(valid, latent.prefix.shape[1])

        # A mask token for each asked place; groups become samples of their own.
        queries = self.mask_token.to(codes.dtype) + asked.gather(positions)  # [B, (G,) M, W]
        if self.training and self.position_noise:
            queries = queries + self.noise(mask).to(queries.dtype)
        groups = asked.index.shape[1] if asked.index.ndim == 3 else 1
        queries = queries.flatten(0, -3)  # [B * G, M, W]
        codes = codes.repeat_interleave(groups, dim=0)

        # The answers are read where the mask tokens stand.
        x = self.trunk(torch.cat([codes, queries], dim=1), _joint(valid, asked, groups, codes.shape[1]))
        answers = self.head(x[:, codes.shape[1] :])
        return Prediction(answers.reshape(*asked.index.shape, answers.shape[-1]), asked)

    def noise(self, mask: Mask) -> Tensor:
        """What is added to the positions of mask tokens ``[B, (G,) M, W]``."""
        normal = mask.streams().named("positions").normal(*mask.asked.index.shape[1:], self.embed.in_features)
        return F.linear(normal * self.position_noise**0.5, self.embed.weight)

    def _positions(self, mask: Mask, places: Tokens) -> Tensor:
        batch, num_tokens = mask.hidden.shape
        table = sincos(places.layout, num_tokens, self.width, mask.hidden.device)
        return table.to(self.mask_token.dtype).expand(batch, -1, -1)


def _true_before(valid: Tensor | None, count: int) -> Tensor | None:
    """``valid`` with ``count`` True columns in front."""
    return None if valid is None else torch.cat([valid.new_ones(len(valid), count), valid], dim=1)


def _joint(valid: Tensor | None, asked: Places, groups: int, num_codes: int) -> Tensor | None:
    """Validity of codes and queries side by side, or None when all are real."""
    if valid is None and asked.valid is None:
        return None
    rows, num_queries = asked.index.flatten(0, -2).shape
    left = (
        asked.index.new_ones(rows, num_codes, dtype=torch.bool)
        if valid is None
        else valid.repeat_interleave(groups, dim=0)
    )
    right = (
        asked.index.new_ones(rows, num_queries, dtype=torch.bool) if asked.valid is None else asked.valid.flatten(0, -2)
    )
    return torch.cat([left, right], dim=1)
