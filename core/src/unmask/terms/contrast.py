"""Contrast: codes of two parts of a sample are nearer to each other than to those of other samples (CLIP, Radford et
al. 2021; FLIP, Li et al. 2022, arXiv:2212.00794)."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.nn.gathered import of_all_devices
from unmask.parts import Term
from unmask.schedules import Progress, Schedule
from unmask.step import Step
from unmask.structures import Latent, Tokens


class Contrast(Term):
    """``(CE(s, own) + CE(s^T, own)) / 2`` with ``s = scale * cos(project(a_i), project'(b_j))`` over the global batch.

    In validation each device compares its own samples. Both codes are pooled over what the encoder saw. The scale is
    learned, and never above 100.

    Args:
        first: one part, by its name.
        second: the other one.
        width: that both are projected to, at least 1.
        pools: of the two: ``mean`` over the places seen, or ``cls``. FLIP: the mean of the visible patches.
        temperature: that the scale begins at the inverse of, above 0. Paper: 0.01 at batches of tens of thousands.
        weight: at least 0, or a schedule of it.

    Raises:
        ValueError: a number outside its range; in `start`, an encoder without parts of these names.
    """

    def __init__(
        self,
        first: str = "image",
        second: str = "text",
        width: int = 512,
        pools: tuple[Literal["mean", "cls"], Literal["mean", "cls"]] = ("mean", "mean"),
        temperature: float = 0.07,
        weight: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight)
        if width < 1:
            raise ValueError(f"`width` must be at least 1, but is {width}.")
        if not temperature > 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature}.")
        self.names = (first, second)
        self.width = width
        self.pools = tuple(pools)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def start(self, model: Any) -> None:
        encoders = getattr(model.encoder, "encoders", None)
        widths = [model.encoder.width] * 2
        if encoders is not None:
            for name in self.names:
                if name not in encoders:
                    raise ValueError(f"The encoder must have a part `{name}`, but has {', '.join(encoders)}.")
            widths = [encoders[name].width for name in self.names]
        self.projects = nn.ModuleList(nn.Linear(width, self.width, bias=False) for width in widths)

    def forward(self, step: Step, model: Any) -> Tensor:
        first, second = (of_all_devices(one) for one in self.pooled(step.latent, step.tokens))
        with torch.autocast(first.device.type, enabled=False):  # bfloat16 is too coarse over a temperature
            scores = self.log_scale.exp().clamp(max=100.0) * first @ second.mT  # [B, B]
        own = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.mT, own)) / 2

    def pooled(self, latent: Latent, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Projected codes of both parts, of length 1: ``[B, W]`` each."""
        first, second = (self.code(name, latent.part(name), tokens.part(name).places) for name in self.names)
        return first, second

    def code(self, name: str, latent: Latent, places: Tokens | None = None) -> Tensor:
        """The projected code of one part, of length 1: ``[B, W]``; ``places`` as of `Latent.pool`."""
        number = self.names.index(name)
        return F.normalize(self.projects[number](latent.pool(self.pools[number], places)).float(), dim=-1)

    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(100.0))
        return {"scale": float(self.log_scale.detach().exp())}
