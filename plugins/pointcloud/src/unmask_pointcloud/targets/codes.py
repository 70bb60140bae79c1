"""Code target: which code of a trained dVAE a hidden patch is (Point-BERT, Yu et al. 2022, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask import Given, Mask, Target, Tokens
from unmask_pointcloud.encoders.dvae import DVAEEncoder


class CodeTarget(Target):
    """Ids of codes ``[B, M]``, by a frozen dVAE that sees the whole cloud.

    Args:
        dvae: the encoder of `DVAE`, always in evaluation mode.
    """

    def __init__(self, dvae: DVAEEncoder) -> None:
        super().__init__()
        self.dvae = dvae.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> CodeTarget:
        return super().train(False)

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        return mask.asked.gather(self.ids(tokens))

    @torch.no_grad()
    def ids(self, tokens: Tokens) -> Tensor:
        """Of all patches ``[B, G]``."""
        return self.dvae.ids(tokens)
