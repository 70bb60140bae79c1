"""What front ends of mel filters share: the length of a frame, the filters' limits, and the way back to power."""

from __future__ import annotations

import math

from torch import Tensor

from unmask_audio.frontends.frontend import FrontEnd
from unmask_audio.frontends.mel import LogMelEnergies


class MelFrontEnd(FrontEnd):
    """Log energies in mel filters of frames of ``size`` samples, by an FFT of ``num_fft`` points.

    Args:
        sample_rate: of the waves, in Hz.
        num_bins: F, mel filters.
        window_ms: length of a frame, in milliseconds, at least 2 samples.
        hop_ms: from one frame to the next.

    Raises:
        ValueError: a value outside its range.
    """

    mel: LogMelEnergies

    def __init__(self, sample_rate: int, num_bins: int, window_ms: float, hop_ms: float) -> None:
        super().__init__(sample_rate, int(sample_rate * hop_ms / 1000), num_bins)
        self.size = int(sample_rate * window_ms / 1000)
        if self.size < 2:
            raise ValueError(f"`window_ms` must be at least 2 samples ({2000 / sample_rate:g} ms), but is {window_ms}.")
        self.num_fft = 2 ** math.ceil(math.log2(self.size))

    def power(self, features: Tensor, hidden: Tensor | None = None) -> Tensor:
        return self.mel.power(features, hidden)

    def window(self) -> Tensor:
        return self.mel.window


def highest_of(sample_rate: int, low_hz: float, high_hz: float | None) -> float:
    """Where the highest filter ends: ``high_hz``, or half the sample rate.

    Raises:
        ValueError: limits outside of ``0 <= low_hz < high_hz <= sample_rate / 2``.
    """
    highest = sample_rate / 2
    high_hz = highest if high_hz is None else high_hz
    if not 0 <= low_hz < high_hz <= highest:
        raise ValueError(
            f"`low_hz` and `high_hz` must be 0 <= low < high <= {highest:g}, but are {low_hz:g} and {high_hz:g}."
        )
    return high_hz
