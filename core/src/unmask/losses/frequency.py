"""Frequency losses: spectra of answers and targets are compared (MFM, Xie et al. 2022; Jiang et al. 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unmask.nn.grids import assembled
from unmask.parts import Loss
from unmask.step import Given, LossValue
from unmask.structures import Mask, Prediction, Sequence
from unmask.support.checks import at_least, inside

HIDDEN_FREQUENCIES = "hidden_frequencies"
"""What a corruption that hides frequencies leaves in `Shown.made`: ``[B, *sides]`` bool, unshifted."""
_SMALL = 1e-12


class FrequencyLoss(Loss):
    """``mean over frequencies and channels of |F(p - t)|^exponent``, F the orthonormal Fourier transform of a sample.

    Tokens are cells of a field, put together by `unmask.nn.assembled`; where no answer is asked, the difference is 0.
    Where a corruption has hidden frequencies, the mean is over those of the batch. A sample's number is spread evenly
    over its asked places. Without what the target was given, the asked places are taken as all there are, in a line.

    Args:
        channels: C of the field.
        exponent: at least 1. MFM (section 3.3): 1; 2 with nothing hidden is the squared error (Parseval).

    Raises:
        ValueError: a number out of range; when called, packed tokens, or widths that are no cells.
    """

    def __init__(self, channels: int = 1, exponent: float = 1.0) -> None:
        super().__init__()
        at_least(1, channels=channels, exponent=exponent)
        self.channels = channels
        self.exponent = exponent

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """``[B, M]``: of cells in a line."""
        difference = prediction.float() - target.float()
        if valid is not None:
            difference = difference.masked_fill(~valid[..., None], 0)
        rows = difference.flatten(0, -3)
        of_each = self.of_samples(assembled(rows, Sequence(), self.channels), None)
        return of_each.view(*prediction.shape[:-2], 1).expand(prediction.shape[:-1])

    def forward(self, prediction: Prediction, target: Tensor, given: Given | None = None) -> LossValue:
        if given is None:
            return super().forward(prediction, target)
        self.check(prediction, target)
        tokens, mask, asked = given.shown.tokens, given.shown.mask, prediction.asked
        if tokens.offsets is not None or asked.index.ndim != 2:
            raise ValueError(f"{type(self).__name__} works on dense tokens without groups of answers; pad them.")
        values = self.difference(prediction.values.float(), target.float(), prediction, mask)
        if asked.valid is not None:
            values = values.masked_fill(~asked.valid[..., None], 0)
        num_tokens = mask.hidden.shape[1]
        difference = asked.scatter(values, values.new_zeros(len(values), num_tokens, values.shape[-1]))
        field = assembled(difference, tokens.layout, self.channels)  # [B, C, *sides]
        of_each = self.of_samples(field, given.shown.made.get(HIDDEN_FREQUENCIES))
        return self.averaged(of_each[:, None].expand(asked.index.shape), asked.valid, prediction.weights)

    def difference(self, prediction: Tensor, target: Tensor, answers: Prediction, mask: Mask) -> Tensor:
        """What is transformed, ``[B, M, T]``."""
        return prediction - target

    def of_samples(self, field: Tensor, hidden: Tensor | None) -> Tensor:
        """One number for each sample ``[B]``, of differences ``[B, C, *sides]``, at ``hidden`` frequencies if given."""
        sides = tuple(range(2, field.ndim))
        with torch.autocast(field.device.type, enabled=False):
            spectrum = torch.fft.fftn(field.float(), dim=sides, norm="ortho")
        energy = spectrum.real.square() + spectrum.imag.square()  # [B, C, *sides]
        distance = energy if self.exponent == 2 else (energy + _SMALL) ** (self.exponent / 2)
        distance = distance * self.weights(energy.detach())
        if hidden is None:
            return distance.flatten(1).mean(1)
        sums = (distance * hidden[:, None]).flatten(1).sum(1)
        return sums * len(field) / (hidden.sum() * self.channels).clamp(min=1)

    def weights(self, energy: Tensor) -> Tensor | float:
        """How much each frequency counts, ``[B, C, *sides]``."""
        return 1.0


class FocalFrequencyLoss(FrequencyLoss):
    """``mean over frequencies of w |F(p - t)|^2``, ``w = |F(p - t)|^alpha`` over its largest: hard ones count more.

    Args:
        channels: C of the field.
        alpha: at least 0; 0: the squared error of spectra. Jiang et al. (section 3.3): 1.
        log: whether ``w`` is ``log(1 + |F|^alpha)`` over its largest.
        largest_of: ``channel``: of each channel of each sample; ``batch``: of the whole batch.
        average: whether the mean spectra of the batch are compared, not those of each sample.
        visible: how far answers at visible places count as answers, in [0, 1], without gradient: the difference there
            is ``visible * (p - t)``. A2MIM (section 4.3): 0.5. Only counts where answers are asked at visible places.

    Raises:
        ValueError: a number or word out of range.
    """

    def __init__(
        self,
        channels: int = 1,
        alpha: float = 1.0,
        log: bool = False,
        largest_of: str = "channel",
        average: bool = False,
        visible: float | None = None,
    ) -> None:
        super().__init__(channels, exponent=2.0)
        at_least(0, alpha=alpha)
        if largest_of not in ("channel", "batch"):
            raise ValueError(f"`largest_of` must be 'channel' or 'batch', but is {largest_of!r}.")
        if visible is not None:
            inside("[0, 1]", visible=visible)
        self.alpha, self.log, self.largest_of, self.average, self.visible = alpha, log, largest_of, average, visible

    def difference(self, prediction: Tensor, target: Tensor, answers: Prediction, mask: Mask) -> Tensor:
        difference = prediction - target
        if self.visible is None:
            return difference
        hidden = answers.asked.gather(mask.hidden)[..., None]  # [B, M, 1]
        return torch.where(hidden, difference, self.visible * difference.detach())

    def of_samples(self, field: Tensor, hidden: Tensor | None) -> Tensor:
        if not self.average:
            return super().of_samples(field, hidden)
        return super().of_samples(field.mean(0, keepdim=True), None).expand(len(field))

    def weights(self, energy: Tensor) -> Tensor:
        weight = energy.sqrt() ** self.alpha
        if self.log:
            weight = (weight + 1).log()
        if self.largest_of == "batch":
            return (weight / weight.max()).nan_to_num(0.0).clamp(0, 1)
        shape = (*weight.shape[:2], math.prod(weight.shape[2:]))
        flat = weight.view(shape)
        return (flat / flat.amax(-1, keepdim=True)).nan_to_num(0.0).clamp(0, 1).view(weight.shape)
