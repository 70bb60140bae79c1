"""Whole predictor: codes where they were seen, mask tokens elsewhere, answers anywhere (MAE, He et al. 2021, section 3;
G2SD, Huang et al. 2023, arXiv:2303.04424)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.nn import sincos
from unmask.predictors.transformer import TransformerPredictor
from unmask.structures import Latent, Mask, Prediction, Tokens


class WholePredictor(TransformerPredictor):
    """A trunk over all places of a sample in their order; an answer is read where its place stands.

    `TransformerPredictor` gives a mask token to each asked place, also to one whose code is there; this one reads such
    an answer at the code. At hidden places alone both give the same answers. Arguments are those of
    `TransformerPredictor`.

    Raises:
        ValueError: packed tokens, or answers in groups, which would not see each other.
    """

    @classmethod
    def of(cls, predictor: TransformerPredictor) -> WholePredictor:
        """One with a copy of the weights of another predictor."""
        attention = predictor.trunk.blocks[0].attn
        made = cls(
            predictor.embed.in_features,
            predictor.head.out_features,
            predictor.width,
            len(predictor.trunk.blocks),
            attention.num_heads,  # type: ignore[arg-type, union-attr]
            predictor.use_prefix,
        )
        made.load_state_dict(predictor.state_dict())
        return made

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if mask.asked.index.ndim != 2:
            raise ValueError("WholePredictor answers at places of dense tokens, but these are packed or in groups.")
        states = self.trunk.norm(self.states(latent, places, mask, len(self.trunk.blocks)))
        return Prediction(self.head(mask.asked.gather(states)), mask.asked)

    def states(self, latent: Latent, places: Tokens, mask: Mask, depth: int) -> Tensor:
        """What the first ``depth`` blocks make of each place ``[B, N, W]``, as it leaves the last of them."""
        batch, num_tokens = mask.hidden.shape
        codes = self.embed(latent.values)
        if latent.seen is None:
            x = codes
        else:
            x = latent.seen.scatter(codes, self.mask_token.to(codes.dtype).expand(batch, num_tokens, -1))
        x = x + sincos(places.layout, num_tokens, self.width, x.device).to(x.dtype)  # [B, N, W]
        valid, num_prefix = mask.valid, 0
        if self.use_prefix and latent.prefix is not None:
            num_prefix = latent.prefix.shape[1]
            x = torch.cat([self.embed(latent.prefix), x], dim=1)
            valid = valid if valid is None else torch.cat([valid.new_ones(batch, num_prefix), valid], dim=1)
        for block in self.trunk.blocks[:depth]:
            x = block(x, valid)
        return x[:, num_prefix:]
