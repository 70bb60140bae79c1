"""Frequency filter: the encoder sees low or high frequencies of a sample (MFM, Xie et al. 2022, arXiv:2206.07706)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unmask.losses.frequency import HIDDEN_FREQUENCIES
from unmask.nn.grids import assembled, cut
from unmask.parts import Corruption
from unmask.step import Shown
from unmask.structures import KEPT, Mask, Tokens
from unmask.support.checks import at_least, inside


class FrequencyFilter(Corruption):
    """A ball around frequency 0 is kept, or all but it, drawn for each sample; all of a sample's places are shown so.

    Tokens are cells of a field, see `unmask.nn.assembled`. The field is brought back to raw units, filtered, bound, and
    scaled again. What is hidden, ``Shown.made["hidden_frequencies"]`` ``[B, *sides]``, `FrequencyLoss` asks for.

    Args:
        radius: of the ball, above 0, in cycles per sample. Section 4.1: 16 for images of 224 pixels.
        low_chance: with which low frequencies are kept, in [0, 1]. Section 4.1: 0.5 for ViT; released for ResNet: 0.3.
        channels: C, of the field.
        mean: per channel, which the tokenizer has subtracted; None: 0.
        std: per channel, which it has divided by, above 0; None: 1.
        bounds: least and greatest raw value, to which what is shown is clamped, as in the released code; None: none.

    Raises:
        ValueError: a number out of range, or not as many means and deviations as channels; when called, packed tokens.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        radius: float = 16.0,
        low_chance: float = 0.5,
        channels: int = 1,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        bounds: tuple[float, float] | None = (0.0, 1.0),
    ) -> None:
        super().__init__(keep=1)
        if radius <= 0:
            raise ValueError(f"`radius` must be above 0, but is {radius}.")
        inside("[0, 1]", low_chance=low_chance)
        at_least(1, channels=channels)
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(f"`bounds` must be (least, greatest), but is {tuple(bounds)}.")
        self.radius, self.low_chance, self.channels, self.bounds = radius, low_chance, channels, bounds
        for name, given, default in (("mean", mean, 0.0), ("std", std, 1.0)):
            numbers = [default] * channels if given is None else list(given)
            if len(numbers) != channels:
                raise ValueError(f"`{name}` must have {channels} numbers, one per channel, but has {len(numbers)}.")
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32), persistent=False)
        if bool((self.std <= 0).any()):
            raise ValueError(f"`std` must be above 0, but is {std}.")

    def extra_repr(self) -> str:
        return f"radius={self.radius:g}, low_chance={self.low_chance:g}"

    def forward(self, tokens: Tokens, mask: Mask) -> Shown:
        if tokens.offsets is not None or tokens.parts is not None:
            raise ValueError("FrequencyFilter works on dense tokens of one part.")
        low = mask.streams().named("frequencies").uniform() < self.low_chance  # [B]
        field = assembled(tokens.values.float(), tokens.layout, self.channels)  # [B, C, *sides]
        shape = (1, -1, *[1] * (field.ndim - 2))
        mean, std = self.mean.view(shape), self.std.view(shape)
        ball = self.ball(field.shape[2:], field.device)
        hidden = ball ^ low.view(-1, *[1] * ball.ndim)  # low ones kept: what lies outside is hidden

        sides = tuple(range(2, field.ndim))
        with torch.autocast(field.device.type, enabled=False):
            spectrum = torch.fft.fftn(field * std + mean, dim=sides)
            filtered = torch.fft.ifftn(spectrum.masked_fill(hidden[:, None], 0), dim=sides).real
        if self.bounds is not None:
            filtered = filtered.clamp(*self.bounds)
        values = cut((filtered - mean) / std, tokens.layout, tokens.num_tokens).to(tokens.values.dtype)
        show = torch.full_like(mask.hidden, KEPT, dtype=torch.int8)
        return Shown(replace(tokens, values=values), replace(mask, show=show), {HIDDEN_FREQUENCIES: hidden})

    def ball(self, sides: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Which frequencies are low, ``[*sides]`` bool, frequency 0 first."""
        axes = [torch.fft.fftfreq(n, 1 / n, device=device) for n in sides]
        squares = sum(axis.square() for axis in torch.meshgrid(*axes, indexing="ij"))
        assert isinstance(squares, Tensor)
        return squares < self.radius**2
