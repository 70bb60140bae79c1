"""Masked diffusion: the process that hides values as time goes on (MD4, Shi et al. 2024, arXiv:2406.04329)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.support.checks import inside

GRIDS = ("even", "cosine")


@dataclass(frozen=True)
class Process:
    """At time t, each value of a sample is hidden by itself with probability ``1 - alpha(t)``.

    ``alpha(t) = (1 - 2 eps) a(t) + eps``, from nearly 1 at time 0 to nearly 0 at time 1, where ``a(t)`` is

    - ``linear``: ``1 - t`` (MDLM, Sahoo et al. 2024, arXiv:2406.07524: the default with ``eps`` 0);
    - ``polynomial``: ``1 - t^power``;
    - ``cosine``: ``1 - cos(pi / 2 (1 - t))``.

    The loss of hidden places, summed with ``weight(t)``, is in the mean over evenly drawn times a bound on the
    negative log-likelihood of a sample, in nats. For a model that is not told the time, the bound is the same for
    every schedule (with ``eps`` 0); its variance is not.

    Args:
        schedule: ``linear``, ``polynomial`` or ``cosine``. MD4: cosine for images, linear for text.
        power: of the polynomial, above 0.
        eps: in [0, 0.5). MD4: 1e-4, which keeps weights finite at all times.
        shortest: least time that is drawn, in [0, 1). Released code of MDLM: 1e-3, which bounds the weights.

    Raises:
        ValueError: an unknown schedule, or a number outside its range.
    """

    schedule: Literal["linear", "polynomial", "cosine"] = "linear"
    power: float = 2.0
    eps: float = 0.0
    shortest: float = 1e-3

    def __post_init__(self) -> None:
        if self.schedule not in ("linear", "polynomial", "cosine"):
            raise ValueError(f"`schedule` must be linear, polynomial or cosine, but is {self.schedule!r}.")
        if not self.power > 0:
            raise ValueError(f"`power` must be above 0, but is {self.power}.")
        inside("[0, 0.5)", eps=self.eps)
        inside("[0, 1)", shortest=self.shortest)

    def times(self, draws: Draws, even: bool = False, step: int = 0) -> Tensor:
        """Times of samples in [shortest, 1): ``[B]`` float32.

        A sample's time comes from its own stream, so it is the same in any batch. With ``even``, times of a batch have
        equal distances (MDLM, section 3.5: the low-discrepancy sampler): samples are ranked by their own numbers, and
        the sample of rank r gets ``(u + r) / B`` with one u of the optimiser ``step``. A time then depends on which
        samples are in the batch, but not on their order. Without ``even`` it differs by about ``1 / sqrt(B)``.
        """
        lot = draws.named("time").uniform()  # [B]
        if even:
            num_samples = len(lot)
            shared = draws.named("time").shared(step).uniform()  # [1]
            lot = (shared + lot.argsort(stable=True).argsort()) / num_samples
        return self.shortest + (1 - self.shortest) * lot

    def alpha(self, time: Tensor) -> Tensor:
        """The probability that a value is shown at these times, in their shape."""
        return 1 - self.hidden_share(time)

    def hidden_share(self, time: Tensor) -> Tensor:
        """The probability that a value is hidden at these times, ``1 - alpha(t)``."""
        return (1 - 2 * self.eps) * self._lost(time) + self.eps

    def weight(self, time: Tensor) -> Tensor:
        """What the loss of a hidden place counts: ``-alpha'(t) / (1 - alpha(t))``. Linear with eps 0: ``1 / t``."""
        if self.schedule == "linear":
            speed = torch.ones_like(time)
        elif self.schedule == "polynomial":
            speed = self.power * time ** (self.power - 1)
        else:
            speed = math.pi / 2 * torch.sin(math.pi / 2 * (1 - time))
        return (1 - 2 * self.eps) * speed / self.hidden_share(time)

    def transition(self, time: Tensor, earlier: Tensor) -> Tensor:
        """The probability that a value hidden at ``time`` is shown at an ``earlier`` one:
        ``(alpha(s) - alpha(t)) / (1 - alpha(t))``."""
        later = self.hidden_share(time)
        return (later - self.hidden_share(earlier)) / later

    def grid(self, steps: int, kind: Literal["even", "cosine"] = "even") -> Tensor:
        """Times at which a sampler stops on its way from 1 to 0: ``[steps + 1]`` float64, falling.

        Args:
            steps: at least 1.
            kind: ``even``, or ``cosine``: ``cos(pi / 2 (1 - i / steps))``, fine at time 1 (MD4, section 4).
        """
        if kind not in GRIDS:
            raise ValueError(f"`grid` must be one of {', '.join(GRIDS)}, but is {kind!r}.")
        left = torch.arange(steps, -1, -1, dtype=torch.float64) / steps
        return left if kind == "even" else torch.cos(math.pi / 2 * (1 - left)).index_fill(0, torch.tensor(steps), 0)

    def _lost(self, time: Tensor) -> Tensor:
        """``1 - a(t)``."""
        if self.schedule == "linear":
            return time
        return time**self.power if self.schedule == "polynomial" else torch.sin(math.pi / 2 * time)
