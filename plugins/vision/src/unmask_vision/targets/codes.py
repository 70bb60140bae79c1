"""Code targets: which code of a trained tokenizer a patch is (BEiT, Bao et al. 2021, arXiv:2106.08254)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask import Given, Mask, Target, Tokens
from unmask_vision.encoders.codebook import CodeEncoder


class CodeTarget(Target):
    """Ids of codes ``[B, M]``, by a tokenizer that sees the whole clean image and is trained no more.

    Args:
        codes: the encoder of a first stage, always in evaluation mode; its weights are kept with the model's.

    Raises:
        ValueError: when training begins, no finished first stage.
    """

    taken: Tensor
    """Whether the tokenizer has weights of a run."""

    def __init__(self, codes: CodeEncoder) -> None:
        super().__init__()
        self.register_buffer("taken", torch.tensor(False))
        self.codes = codes.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> CodeTarget:
        return super().train(False)

    @torch.no_grad()
    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        return mask.asked.gather(self.codes.ids(tokens))

    def begin(self, model: Any) -> None:
        if not self.taken:
            if model.first_stage is None:
                raise ValueError(
                    "`target` must not be `vision.codes` without a trained tokenizer; nearest: the method "
                    "`vision.beit`, whose `codes_run` trains or names one."
                )
            model.first_stage.needed(self.codes)
            self.taken.fill_(True)
