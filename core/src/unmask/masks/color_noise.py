"""Colour-noise mask: filtered noise above a threshold (ColorMAE, Hinojosa et al. 2024, section 3; on clips and
spectrograms, "Structured-Noise Masked Modeling for Video, Audio and Beyond", Bhowmik et al. 2025)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.masks.random import lowest
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Ratio
from unmask.structures import Grid, Sequence

Color = Literal["red", "blue", "green", "purple", "white"]
COLORS = ("red", "blue", "green", "purple", "white")


class ColorNoiseMask(MaskSampler):
    """Hides the places where white noise, filtered to a band of spatial frequencies, is weakest.

    With ``G_s`` a Gaussian blur of ``s`` places, W white noise: ``red = G_1.5 W`` (low frequencies:
    large patches), ``blue = W - G_0.8 W`` (high: evenly scattered), ``green = G_0.6 W - G_1.5 W``
    (a band: small patches evenly scattered), ``purple = W - green / peak`` (all but that band), ``white = W`` (the
    random mask in distribution). Filters are the same in all directions of a line, a grid or a volume.

    Args:
        ratio: share to hide, in (0, 1), a schedule or a spread of it.
        color: the filter; green is the paper's best (table 1). Or several, by the epoch at which each begins, the first
            at 0: ``{green: 0, blue: 200, red: 250, purple: 275}`` is a schedule that was released, of 300 epochs.

    Raises:
        ValueError: an argument outside its range, epochs that do not rise from 0, or a layout without order.

    Differs from the paper in that noise is drawn and filtered for every sample at the grid's own
    resolution, where the paper crops at random from noise maps made beforehand: a small grid costs
    little to filter, no map has to be stored, and two crops never overlap. The released code divides each map by its
    maximum and gives item i of a batch always map i. The blurs are in places and chosen so that all bands fit between
    the frequencies of a grid of 8 or more places a side. Purple removes the band's peak wholly. On spectrograms, the
    later paper keeps a distance between hidden places besides (from memory); here blue noise alone does.
    """

    layouts = (Sequence, Grid)

    def __init__(
        self,
        ratio: Ratio = 0.75,
        color: Color | dict[str, int] = "green",
    ) -> None:
        super().__init__(ratio)
        begins: dict[str, int] = dict(color) if isinstance(color, dict) else {color: 0}
        for one in begins:
            if one not in COLORS:
                raise ValueError(f"`color` must be one of {', '.join(COLORS)}, but is {one!r}.")
        epochs = list(begins.values())
        if epochs[:1] != [0] or any(later <= before for before, later in pairwise(epochs)):
            raise ValueError(f"`color` must name epochs that rise from 0, but names {epochs}.")
        self.begins = begins

    def color_at(self, epoch: int) -> str:
        """The colour of this epoch."""
        return [color for color, begin in self.begins.items() if begin <= epoch][-1]

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        valid = among.valid
        sides = among.layout.shape if isinstance(among.layout, Grid) else (valid.shape[1],)
        # A filter by Fourier transform wraps around: the margin keeps opposite borders unrelated.
        padded = tuple(side + _MARGIN for side in sides)
        white = draws.normal(*padded)  # [B, *padded]
        axes = tuple(range(1, len(padded) + 1))
        spectrum = torch.fft.rfftn(white, dim=axes) * _response(
            self.color_at(among.progress.epoch), padded, valid.device
        )
        noise = torch.fft.irfftn(spectrum, s=padded, dim=axes)
        for axis, side in enumerate(sides, start=1):
            noise = noise.narrow(axis, 0, side)
        return lowest(noise.flatten(1), among.counts, valid)


def _response(color: str, sides: tuple[int, ...], device: torch.device) -> Tensor:
    """What the filter multiplies each frequency by."""
    frequencies = [torch.fft.fftfreq(side, device=device) for side in sides[:-1]]
    frequencies.append(torch.fft.rfftfreq(sides[-1], device=device))
    square = sum(f**2 for f in torch.meshgrid(*frequencies, indexing="ij"))
    assert isinstance(square, Tensor)

    def blur(sigma: float) -> Tensor:
        return torch.exp(-2 * (math.pi * sigma) ** 2 * square)

    if color == "white":
        return torch.ones_like(square)
    if color == "red":
        return blur(1.5)
    if color == "blue":
        return 1 - blur(0.8)
    band = blur(0.6) - blur(1.5)
    return band if color == "green" else 1 - band / band.amax()


_MARGIN = 6
"""Four times the widest blur, in places."""
