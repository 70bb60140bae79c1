"""A policy that draws noise for each image, and learns from what it does to the loss (Yavuz & Yang 2024)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask import KEPT, Corruption, Mask, Schedule, Shown, Step, Term, Tokens
from unmask.api import at_least, inside
from unmask_vision.encoders.codebook import ConvolvedPatches

POLICY = "noise_policy"
"""The logarithm of each drawn noise's density ``[B]``, in `Shown.made`."""
_LEAST = 1e-6


class NoisePolicy(Corruption):
    """``value * (1 + strength (2 x - 1))``, x drawn of a distribution on (0, 1) that a small network chooses.

    The network sees the image and gives two shapes for each pixel, or for the whole image. Nothing of its gradient goes
    through the drawn noise: see `PolicyGradient`. Noise is shown wherever a mask was drawn, and nowhere afterwards.

    Args:
        patch_size: side of a patch in pixels.
        channels: of the images.
        strength: how far noise changes a value, in (0, 1].
        per: whether ``pixel`` or ``image`` has shapes, and noise, of its own.
        hidden_width: of the network.

    Raises:
        ValueError: a number or word out of range.
    """

    def __init__(
        self,
        patch_size: int = 16,
        channels: int = 3,
        strength: float = 0.5,
        per: Literal["pixel", "image"] = "pixel",
        hidden_width: int = 32,
    ) -> None:
        super().__init__(keep=1)
        at_least(1, patch_size=patch_size, channels=channels, hidden_width=hidden_width)
        inside("(0, 1]", strength=strength)
        if per not in ("pixel", "image"):
            raise ValueError(f"`per` must be 'pixel' or 'image', but is {per!r}.")
        self.channels, self.strength, self.per = channels, strength, per
        num_pixels = patch_size**2
        self.net = ConvolvedPatches(num_pixels * channels, 2 * (num_pixels if per == "pixel" else 1), hidden_width, 1)

    def extra_repr(self) -> str:
        return f"strength={self.strength:g}, per={self.per}"

    def forward(self, tokens: Tokens, mask: Mask) -> Shown:
        if tokens.parts is not None or mask.parts is not None:
            raise ValueError("NoisePolicy works on samples of one part and one mask, but these have several.")
        values = tokens.values
        shapes = F.softplus(self.net(tokens, values).float()) + 0.1  # [B, N, 2 * pixels], about 0.8 at first
        if self.per == "image":
            shapes = shapes.mean(1)  # [B, 2]
        a, b = shapes.chunk(2, dim=-1)
        lots = mask.streams().named("noise").uniform(*a.shape[1:])
        noise = drawn(a.detach(), b.detach(), lots)
        density = log_density(noise, a, b).flatten(1).sum(1)  # [B]
        wide = noise.repeat_interleave(self.channels, -1) if self.per == "pixel" else noise[:, :, None]
        shown = values * (1 + self.strength * (2 * wide - 1)).to(values.dtype)
        shown = torch.where(mask.hidden[..., None], shown, values)
        show = torch.full_like(mask.hidden, KEPT, dtype=torch.int8)
        return Shown(replace(tokens, values=shown), replace(mask, show=show), {POLICY: density})


def drawn(a: Tensor, b: Tensor, lots: Tensor) -> Tensor:
    """Numbers of Kumaraswamy's distribution (1980), much like a Beta of these shapes, by even lots in [0, 1)."""
    x = (1 - (1 - lots) ** (1 / b)) ** (1 / a)
    return x.clamp(_LEAST, 1 - _LEAST)


def log_density(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``log(a b x^(a - 1) (1 - x^a)^(b - 1))``."""
    return a.log() + b.log() + (a - 1) * x.log() + (b - 1) * torch.log1p(-(x**a).clamp(max=1 - _LEAST))


class PolicyGradient(Term):
    """``-mean of (reward - mean reward) * log density of the noise``: REINFORCE (Williams 1992) on a `NoisePolicy`.

    Args:
        weight: at least 0, or a schedule of it.
        reward: ``harder``: a sample's loss; ``easier``: minus it. The paper's is the cross-entropy (from memory).

    Raises:
        ValueError: an unknown reward; when called, a corruption that is no policy.
    """

    def __init__(self, weight: float | Schedule = 1.0, reward: Literal["harder", "easier"] = "harder") -> None:
        super().__init__(weight)
        if reward not in ("harder", "easier"):
            raise ValueError(f"`reward` must be 'harder' or 'easier', but is {reward!r}.")
        self.reward = reward

    def forward(self, step: Step, model: Any) -> Tensor:
        assert step.given is not None
        density = step.given.shown.made.get(POLICY)
        if density is None:
            raise ValueError(
                "`corruption` must be a `vision.noise-policy` for `vision.policy-gradient`, but is another."
            )
        loss = step.loss.per_token.float().flatten(1).mean(1)  # [B], without gradient
        reward = loss if self.reward == "harder" else -loss
        return -((reward - reward.mean()) * density).mean()
