"""Code target: which code of a trained dVAE a hidden patch is (Point-BERT, Yu et al. 2022, section 3.3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask import Given, Mask, Target, Tokens
from unmask_pointcloud.encoders.dvae import DVAEEncoder


class CodeTarget(Target):
    """Ids of codes ``[B, M]``, by a frozen dVAE that sees the whole cloud.

    Args:
        dvae: the encoder of `DVAE`, always in evaluation mode.
    """

    taken: Tensor
    """Whether the dVAE has weights of a run."""

    def __init__(self, dvae: DVAEEncoder) -> None:
        super().__init__()
        self.register_buffer("taken", torch.tensor(False))
        self.dvae = dvae.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> CodeTarget:
        return super().train(False)

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        ids = self.ids(tokens)
        if given is not None:
            given.shown.made["ids"] = ids
        return mask.asked.gather(ids)

    def begin(self, model: Any) -> None:
        """Reads the dVAE of the finished first stage, unless a checkpoint had one: `unmask import` makes those that
        have an encoder alone.

        Raises:
            ValueError: there is neither.
        """
        if not self.taken:
            if model.first_stage is None:
                raise ValueError(
                    "`target` must not be `pointcloud.codes` without a trained dVAE; nearest: the method "
                    "`pointcloud.point-bert`, whose `dvae_run` trains or names one."
                )
            model.first_stage.needed(self.dvae)
            self.taken.fill_(True)

    @torch.no_grad()
    def ids(self, tokens: Tokens) -> Tensor:
        """Of all patches ``[B, G]``."""
        return self.dvae.ids(tokens)
