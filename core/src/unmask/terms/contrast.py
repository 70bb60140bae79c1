"""Contrast: codes of two parts of a sample are nearer to each other than to those of other samples (CLIP, Radford et
al. 2021; FLIP, Li et al. 2022, arXiv:2212.00794; HiCMAE, Sun et al. 2024, arXiv:2401.05698)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.nn.gathered import of_all_devices
from unmask.parts import Term
from unmask.schedules import Progress, Schedule
from unmask.step import Step
from unmask.structures import Latent, Tokens
from unmask.terms.alignment import width_of


class Contrast(Term):
    """``(CE(s, own) + CE(s^T, own)) / 2`` with ``s = scale * cos(project(a_i), project'(b_j))`` over the global batch.

    In validation each device compares its own samples. Both codes are pooled over what the encoder saw. The scale is
    never above 100. Samples that lack one of the parts are compared with nobody.

    Args:
        first: one part, by its name.
        second: the other one.
        width: that both are projected to, at least 1; None: codes are compared as they are.
        pools: of the two: ``mean`` over the places seen, or ``cls``. FLIP: the mean of the visible patches.
        temperature: that the scale begins at the inverse of, above 0. Paper: 0.01 at batches of tens of thousands.
        weight: at least 0, or a schedule of it.
        layers: of the encoder, in [1, num_layers], whose codes are compared, each place normed first; the losses of
            several are summed (HiCMAE: three layers, no projection). None: the last one's.
        learned: whether the scale is trained.
        whole: whether each part's own encoder runs again, on its part with nothing hidden (FLAVA, Singh et al. 2021,
            arXiv:2112.04482).
        bias: whether the projections have one (FLAVA).

    Raises:
        ValueError: a number outside its range; in `start`, an encoder without parts of these names, or parts of two
            widths that are not projected; whole parts of an encoder that has none of its own for each, or of layers.
    """

    def __init__(
        self,
        first: str = "image",
        second: str = "text",
        width: int | None = 512,
        pools: tuple[Literal["mean", "cls"], Literal["mean", "cls"]] = ("mean", "mean"),
        temperature: float = 0.07,
        weight: float | Schedule = 1.0,
        layers: list[int] | None = None,
        learned: bool = True,
        whole: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__(weight)
        if width is not None and width < 1:
            raise ValueError(f"`width` must be at least 1, but is {width}.")
        if not temperature > 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature}.")
        if layers is not None and (not layers or len(set(layers)) < len(layers) or min(layers) < 1):
            raise ValueError(f"`layers` must be different numbers from 1, but are {layers}.")
        if whole and layers is not None:
            raise ValueError(f"`layers` must be None where `whole` is true, but are {layers}.")
        self.names = (first, second)
        self.width = width
        self.whole, self.bias = whole, bias
        self.pools = tuple(pools)
        self.layers: list[int | None] = [None] if layers is None else list(layers)
        self.reads = tuple(layers or ())
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learned)

    def start(self, model: Any) -> None:
        if self.whole and not hasattr(model.encoder, "encoders"):
            raise ValueError("`whole` must be false for an encoder that has none of its own for each part.")
        layers = [0] if self.whole else self.layers
        widths = [width_of(model.encoder, name, layer) for layer in layers for name in self.names]
        if self.width is None:
            if len(set(widths)) > 1:
                raise ValueError(f"`width` must be given where codes have several widths, but {widths} are not one.")
            self.projects = nn.ModuleList(nn.Identity() for _ in widths)
        else:
            self.projects = nn.ModuleList(nn.Linear(width, self.width, bias=self.bias) for width in widths)

    def forward(self, step: Step, model: Any) -> Tensor:
        there = self._there(step.tokens)
        there = None if there is None else of_all_devices(there.float()) > 0  # [B]
        latent, values = self._codes(step, model), []
        for place in range(len(self.layers)):
            first, second = (of_all_devices(one) for one in self.pooled(latent, step.tokens, place))
            with torch.autocast(first.device.type, enabled=False):  # bfloat16 is too coarse over a temperature
                scores = self.log_scale.exp().clamp(max=100.0) * first @ second.mT  # [B, B]
            values.append(_symmetric(scores, there))
        return torch.stack(values).sum()

    def pooled(self, latent: Latent, tokens: Tokens, place: int = 0) -> tuple[Tensor, Tensor]:
        """Projected codes of both parts, of length 1: ``[B, W]`` each; ``place`` is that of a layer in ``layers``."""
        latent = latent.layer(self.layers[place])
        first, second = (self.code(name, latent.part(name), tokens.part(name).places, place) for name in self.names)
        return first, second

    def code(self, name: str, part: Latent, places: Tokens | None = None, place: int = -1) -> Tensor:
        """The projected code of one part, of length 1: ``[B, W]``.

        Args:
            name: of the part.
            part: its codes of that layer.
            places: as of `Latent.pool`.
            place: that of the layer in ``layers``.
        """
        number = self.names.index(name)
        if self.layers[place] is not None:  # an inner layer's codes have no norm yet
            prefix = None if part.prefix is None else F.layer_norm(part.prefix, part.prefix.shape[-1:])
            part = replace(part, values=F.layer_norm(part.values, part.values.shape[-1:]), prefix=prefix)
        project = self.projects[2 * (place % len(self.layers)) + number]
        return F.normalize(project(part.pool(self.pools[number], places)).float(), dim=-1)

    def similarities(self, step: Step, names: tuple[str, str], model: Any = None) -> Tensor:
        """Scores of the samples of a device, the first of ``names`` in rows: ``[B, B]``."""
        first, second = self.pooled(self._codes(step, model), step.tokens, len(self.layers) - 1)
        scores = self.log_scale.exp().clamp(max=100.0) * first @ second.mT
        return scores if names == self.names else scores.mT

    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(100.0))
        return {"scale": float(self.log_scale.detach().exp())} if self.log_scale.requires_grad else {}

    def _codes(self, step: Step, model: Any) -> Latent:
        """What is compared: the step's codes, or those of whole parts by encoders of their own."""
        if not self.whole:
            return step.latent
        encoders, tokens = model.encoder.encoders, step.tokens
        return Latent.join({name: encoders[name](tokens.part(name)) for name in self.names})

    def _there(self, tokens: Tokens) -> Tensor | None:
        """Which samples have both parts ``[B]``; None: all, as far as is known without looking."""
        valid = [tokens.part(name).valid for name in self.names]
        some = [one.any(1) for one in valid if one is not None]
        return torch.stack(some).all(0) if some else None


def _symmetric(scores: Tensor, there: Tensor | None) -> Tensor:
    """The mean of both directions' cross-entropies with the diagonal, over samples that are there."""
    own = torch.arange(len(scores), device=scores.device)
    if there is None or bool(there.all()):
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.mT, own)) / 2
    some = there.nonzero()[:, 0]
    return _symmetric(scores[some][:, some], None) if len(some) else scores.sum() * 0
