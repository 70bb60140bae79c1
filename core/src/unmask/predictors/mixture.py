"""Mixture predictor: each answer is read from a learned sum over the encoder's layers (MaskAlign, Xue et al. 2022,
arXiv:2211.08887)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from unmask.parts import Predictor
from unmask.structures import Latent, Mask, Prediction, Tokens
from unmask.support.checks import at_least


class MixturePredictor(Predictor):
    """``answer_i = W_i (sum over layers j of m_ij code_j) + b_i``, for each of L target layers, side by side.

    It answers at places that the encoder saw; there is no decoder. Codes are those that leave a layer, before the
    encoder's final norm. The mixture ``m`` is not decayed.

    Args:
        encoder_width: D, width of the codes.
        target_width: of the features of one target layer; an answer is ``num_targets`` times as wide.
        num_layers: of the encoder, at least 1; all are read.
        num_targets: L, at least 1.
        begin: of ``m``: ``identity`` plus 0.01, each target read from the layer of its number, where targets are the
            last ones of as many layers; or the layers' ``mean``.

    Raises:
        ValueError: a number below 1, an unknown beginning, or ``identity`` for more targets than layers;
            when called, places that the encoder has not seen.
    """

    def __init__(
        self,
        encoder_width: int,
        target_width: int,
        num_layers: int,
        num_targets: int,
        begin: Literal["identity", "mean"] = "identity",
    ) -> None:
        super().__init__()
        at_least(1, num_layers=num_layers, num_targets=num_targets)
        if begin not in ("identity", "mean"):
            raise ValueError(f"`begin` must be one of identity, mean, but is {begin!r}.")
        if begin == "identity" and num_layers < num_targets:
            raise ValueError(
                f"`begin` must be 'mean' for {num_layers} layers and {num_targets} targets, which are more, but is "
                "'identity'."
            )
        self.reads = tuple(range(1, num_layers + 1))
        mixture = torch.eye(num_layers)[-num_targets:] + 0.01
        if begin == "mean":
            mixture = torch.full((num_targets, num_layers), 1 / num_layers)
        self.mixture = nn.Parameter(mixture.flatten())  # one row, which is not decayed
        self.heads = nn.ModuleList(nn.Linear(encoder_width, target_width) for _ in range(num_targets))

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        codes = torch.stack([self._codes(latent.layer(number), mask) for number in self.reads])  # [J, B, M, D]
        mixed = torch.einsum("ij,jbmd->ibmd", self.mixture.view(len(self.heads), -1), codes)
        answers = [head(one) for head, one in zip(self.heads, mixed, strict=True)]
        return Prediction(torch.cat(answers, dim=-1), mask.asked)

    def _codes(self, latent: Latent, mask: Mask) -> Tensor:
        if latent.seen is None:
            return mask.asked.gather(latent.values)
        index = latent.seen.index
        if index.shape != mask.asked.index.shape or not torch.equal(index, mask.asked.index):
            raise ValueError(
                "`ask` must be 'visible' for MixturePredictor, which reads codes of seen places, but is not."
            )
        return latent.values
