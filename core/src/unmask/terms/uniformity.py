"""Uniformity: codes of different samples point in different directions (U-MAE, Zhang et al. 2022, arXiv:2210.08344)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.nn.gathered import of_all_devices
from unmask.parts import Step, Term
from unmask.schedules import Schedule


class Uniformity(Term):
    """``mean over pairs of different samples of cos(z, z')^2``, in [0, 1], with ``z`` a sample's mean code.

    Codes of a masked autoencoder may fall onto few directions, since its loss only asks for what is hidden (section 4).

    Args:
        weight: at least 0 (release: 0.01).
        pool: what a sample's one code is: ``mean``, or ``cls`` where the encoder has a class token.

    Pairs are those of the global batch, in validation those of a device's own; a batch of one sample gives 0.
    """

    def __init__(self, weight: float | Schedule = 0.01, pool: str = "mean") -> None:
        super().__init__(weight)
        self.pool = pool

    def forward(self, step: Step, model: Any) -> Tensor:
        codes = of_all_devices(step.latent.pool(self.pool, step.tokens.places).float())  # [B, D]
        codes = F.normalize(codes, dim=-1)
        with torch.autocast(codes.device.type, enabled=False):
            cosines = codes @ codes.T  # [B, B]
        others = ~torch.eye(len(codes), dtype=torch.bool, device=codes.device)
        return (cosines.square() * others).sum() / max(len(codes) * (len(codes) - 1), 1)
