"""Variance and covariance of codes: none of their numbers may die or repeat another (VICReg, Bardes et al. 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.nn.gathered import of_all_devices
from unmask.parts import Step, Term
from unmask.schedules import Schedule


class VarianceCovariance(Term):
    """``mean_d max(0, gamma - std_d) + covariance_weight * sum_{d != e} cov_de^2 / D`` of the samples' mean codes.

    VICReg's terms without its invariance, which is between two views (arXiv:2105.04906, equations 1 to 4).

    Args:
        weight: at least 0, of both (paper: 25 for the variance).
        covariance_weight: of the covariance against the variance, at least 0 (paper: 1 against 25).
        gamma: standard deviation that is enough, above 0 (paper: 1).
        pool: what a sample's one code is: ``mean``, or ``cls`` where the encoder has a class token.

    Raises:
        ValueError: a number outside its range.

    Samples are those of the global batch, in validation those of a device's own; fewer than two give 0.
    """

    def __init__(
        self,
        weight: float | Schedule = 1.0,
        covariance_weight: float = 0.04,
        gamma: float = 1.0,
        pool: str = "mean",
    ) -> None:
        super().__init__(weight)
        if not covariance_weight >= 0:
            raise ValueError(f"`covariance_weight` must be at least 0, but is {covariance_weight}.")
        if not gamma > 0:
            raise ValueError(f"`gamma` must be above 0, but is {gamma}.")
        self.covariance_weight = covariance_weight
        self.gamma = gamma
        self.pool = pool

    def forward(self, step: Step, model: Any) -> Tensor:
        codes = of_all_devices(step.latent.pool(self.pool, step.tokens.places).float())  # [B, D]
        if len(codes) < 2:
            return codes.sum() * 0
        centred = codes - codes.mean(0)
        with torch.autocast(codes.device.type, enabled=False):
            covariance = centred.T @ centred / (len(codes) - 1)  # [D, D]
        variance = covariance.diagonal()
        spread = (self.gamma - (variance + 1e-4).sqrt()).clamp(min=0).mean()  # 1e-4 as in the paper's equation 2
        repeated = (covariance.square().sum() - variance.square().sum()) / codes.shape[1]
        return spread + self.covariance_weight * repeated
