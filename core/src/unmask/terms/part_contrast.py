"""Part contrast: codes of one part are alike, those of others are not (MixedAE, Chen et al. 2023, section 3.3)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Term
from unmask.schedules import Schedule
from unmask.step import Step


class PartContrast(Term):
    """``mean over codes i and others j of i's part of -log softmax over all j' != i of cos(i, j') / temperature``.

    Args:
        weight: at least 0, or a schedule of it. MixedAE (section 4.1, from memory): 0.1.
        temperature: above 0. MixedAE (from memory): 0.25.

    Raises:
        ValueError: a number out of range; when called, codes without parts, or filled up rows.
    """

    def __init__(self, weight: float | Schedule = 0.1, temperature: float = 0.25) -> None:
        super().__init__(weight)
        if temperature <= 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature}.")
        self.temperature = temperature

    def forward(self, step: Step, model: Any) -> Tensor:
        parts = list((step.latent.parts or {}).values())
        if len(parts) < 2:
            raise ValueError("`part-contrast` needs codes of at least 2 parts of a sample.")
        if any(part.seen is not None and part.seen.valid is not None for part in parts):
            raise ValueError("`part-contrast` needs parts that show as many places in all samples.")
        codes = F.normalize(torch.cat([part.values for part in parts], dim=1).float(), dim=-1)  # [B, K, D]
        owner = torch.cat([torch.full((part.values.shape[1],), i) for i, part in enumerate(parts)]).to(codes.device)
        with torch.autocast(codes.device.type, enabled=False):
            scores = codes @ codes.mT / self.temperature  # [B, K, K]
        itself = torch.eye(len(owner), dtype=torch.bool, device=codes.device)
        chances = scores.masked_fill(itself, float("-inf")).log_softmax(-1)
        alike = (owner[:, None] == owner) & ~itself  # [K, K]
        per_code = -(chances.masked_fill(~alike, 0)).sum(-1) / alike.sum(-1).clamp(min=1)
        return per_code[:, alike.any(-1)].mean()
