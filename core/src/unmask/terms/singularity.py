"""Data singularity of mask tokens (Choi et al. 2024, arXiv:2404.08330): hidden and visible codes differ at first."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Term
from unmask.schedules import Schedule
from unmask.step import Step
from unmask.structures import Latent
from unmask.support.checks import inside


class Singularity(Term):
    """``sum over layers l of decay^l * mean over hidden i, visible j of cos(code_i, code_j)^2``, over ``sum decay^l``.

    Mask tokens should be unlike data where they enter, and come to be like it with depth: so the first layers count
    most. It is our reading of the paper, whose own terms are made of the entropy of attention.

    Args:
        weight: at least 0, or a schedule of it.
        decay: from one layer to the next, in (0, 1].
        layers: numbers of layers in [1, num_layers], the first of which counts 1; None: the first half of them.

    Raises:
        ValueError: a number out of range; when called, codes of visible places alone.
    """

    def __init__(self, weight: float | Schedule = 0.1, decay: float = 0.5, layers: list[int] | None = None) -> None:
        super().__init__(weight)
        inside("(0, 1]", decay=decay)
        self.decay = decay
        self.layers = layers
        self.reads = tuple(layers or ())

    def start(self, model: Any) -> None:
        if self.layers is None:
            self.reads = tuple(range(1, max(model.encoder.num_layers // 2, 1) + 1))

    def forward(self, step: Step, model: Any) -> Tensor:
        hidden, valid = step.mask.hidden, step.mask.valid
        weights = [self.decay**i for i in range(len(self.reads))]
        each = [
            weight * likeness(step.latent.layer(layer), hidden, valid)
            for weight, layer in zip(weights, self.reads, strict=True)
        ]
        return torch.stack(each).sum() / sum(weights)


def likeness(latent: Latent, hidden: Tensor, valid: Tensor | None = None) -> Tensor:
    """The mean over samples of that over pairs of a hidden and a visible place of ``cos^2`` of their codes.

    Raises:
        ValueError: hidden places have no codes.
    """
    if latent.seen is not None or latent.values.shape[:2] != hidden.shape:
        raise ValueError("`singularity` needs a code at every place; use a corruption with `drop` 0.")
    visible = ~hidden if valid is None else ~hidden & valid
    codes = F.normalize(latent.values.float(), dim=-1)
    with torch.autocast(codes.device.type, enabled=False):
        squares = (codes @ codes.mT).square()  # [B, N, N]
    pairs = hidden[:, :, None] & visible[:, None, :]
    return ((squares * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)).mean()
