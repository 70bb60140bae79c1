"""Transport: places of two parts are matched at the least cost, so that words lie near what they speak of (UNITER, Chen
et al. 2019, arXiv:1909.11740)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.nn.transport import transport_plan
from unmask.parts import Term
from unmask.schedules import Schedule
from unmask.step import Step
from unmask.structures import Latent, Tokens
from unmask.support.checks import at_least


class Transport(Term):
    """``mean over samples of sum_ij plan_ij * (1 - cos(a_i, b_j))``, the plan that of least cost.

    Codes are those of the places that the encoder saw; both parts' must be of one width. The plan has no gradient.
    Samples that lack a part do not count. For the distance of wrong pairs as well, see `Matching`.

    Args:
        first: one part, by its name.
        second: the other one.
        beta: step of the iterations, above 0. Paper: 0.5.
        iterations: of them, at least 1. Paper: 50.
        weight: at least 0, or a schedule of it. Paper: 0.1.

    Raises:
        ValueError: a number outside its range; when called, packed codes, or parts of other names or widths.
    """

    def __init__(
        self,
        first: str = "image",
        second: str = "text",
        beta: float = 0.5,
        iterations: int = 50,
        weight: float | Schedule = 0.1,
    ) -> None:
        super().__init__(weight)
        if not beta > 0:
            raise ValueError(f"`beta` must be above 0, but is {beta}.")
        at_least(1, iterations=iterations)
        self.names = (first, second)
        self.beta, self.iterations = beta, iterations

    def forward(self, step: Step, model: Any) -> Tensor:
        distance, there = self.distances(step.latent, step.tokens)
        return (distance * there).sum() / there.sum().clamp(min=1)

    def distances(self, latent: Latent, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """The cost of each sample's plan ``[B]``, and which samples have both parts ``[B]`` bool."""
        (a, rows), (b, columns) = (codes_of(latent, tokens, name) for name in self.names)
        if a.shape[-1] != b.shape[-1]:
            raise ValueError(f"Parts must have codes of one width to be transported, but have {a.shape[-1]} and "
                             f"{b.shape[-1]}.")  # fmt: skip
        with torch.autocast(a.device.type, enabled=False):
            cost = 1 - F.normalize(a.float(), dim=-1) @ F.normalize(b.float(), dim=-1).mT  # [B, N, M]
        plan = transport_plan(cost, rows, columns, self.beta, self.iterations)
        return (plan * cost).sum((1, 2)), rows.any(1) & columns.any(1)


def codes_of(latent: Latent, tokens: Tokens, name: str) -> tuple[Tensor, Tensor]:
    """Codes of a part at the places seen ``[B, K, D]``, and which are real ``[B, K]``.

    Raises:
        ValueError: there is no such part, or it is packed.
    """
    if name not in (latent.parts or {}):
        raise ValueError(f"The codes must have a part `{name}`, but have {', '.join(latent.parts or ()) or 'none'}.")
    part = latent.part(name)
    if part.values.ndim != 3:
        raise ValueError(f"Codes of `{name}` must be dense, but are packed; set `pack` of its data to false.")
    valid = part.seen.valid if part.seen is not None else tokens.part(name).valid
    real = torch.ones(part.values.shape[:2], dtype=torch.bool, device=part.values.device) if valid is None else valid
    return part.values, real
