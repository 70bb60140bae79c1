"""Kaldi's log mel filter bank (Povey et al. 2011), as `torchaudio.compliance.kaldi.fbank` has it, for batches."""

from __future__ import annotations

import torch
from torch import Tensor
from torchaudio.compliance import kaldi

from unmask.api import at_least, inside, nearest, quoted
from unmask_audio.frontends.frontend import SAMPLE_RATE
from unmask_audio.frontends.mel import LogMelEnergies
from unmask_audio.frontends.mel_frontend import MelFrontEnd, highest_of

WINDOWS = {
    "hanning": lambda size: torch.hann_window(size, periodic=False),
    "povey": lambda size: torch.hann_window(size, periodic=False).pow(0.85),
    "hamming": lambda size: torch.hamming_window(size, periodic=False),
    "rectangular": lambda size: torch.ones(size),
}
FLOOR = torch.finfo(torch.float32).eps
"""Kaldi's least energy: silence is ``log(FLOOR)``, -15.94."""


class Fbank(MelFrontEnd):
    """``log(max(|FFT(window * preemphasised frame)|^2 . mel filters, 1.2e-7))``, natural logarithm.

    A frame is a stretch of ``window_ms`` that lies within the clip (Kaldi's ``snip_edges``), without its mean; a clip
    shorter than a frame is filled up with zeros to one. Defaults are those of AST and Audio-MAE, section 4.1.

    Args:
        sample_rate: of the waves, in Hz; None: in a config that of the data, else 16,000.
        num_bins: F, mel filters, at least 4.
        window_ms: length of a frame, in milliseconds.
        hop_ms: from one frame to the next.
        window: ``hanning``, ``povey`` (Kaldi's own default), ``hamming`` or ``rectangular``.
        low_hz: where the lowest filter begins, at least 0.
        high_hz: where the highest ends, at most half the sample rate; None: there.
        preemphasis: p of ``x[n] - p * x[n - 1]``, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """

    def __init__(
        self,
        sample_rate: int | None = None,
        num_bins: int = 128,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        window: str = "hanning",
        low_hz: float = 20.0,
        high_hz: float | None = None,
        preemphasis: float = 0.97,
    ) -> None:
        sample_rate = SAMPLE_RATE if sample_rate is None else sample_rate
        super().__init__(sample_rate, num_bins, window_ms, hop_ms)
        at_least(4, num_bins=num_bins)
        if window not in WINDOWS:
            near = quoted(nearest(window, WINDOWS) or WINDOWS)
            raise ValueError(f"`window` must be one of {quoted(WINDOWS)}, but is {window!r}; nearest: {near}.")
        inside("[0, 1]", preemphasis=preemphasis)
        filters = kaldi_filters(sample_rate, num_bins, self.num_fft, low_hz, high_hz)
        self.mel = LogMelEnergies(WINDOWS[window](self.size), filters, FLOOR, preemphasis, centred=True)

    def count(self, num_samples: Tensor) -> Tensor:
        return (1 + (num_samples - self.size) // self.hop).clamp(min=1)

    def features(self, wave: Tensor, frames: Tensor | None) -> Tensor:
        if wave.shape[1] < self.size:
            wave = torch.nn.functional.pad(wave, (0, self.size - wave.shape[1]))
        return self.mel(wave.unfold(1, self.size, self.hop))  # [B, T, F]


def kaldi_filters(sample_rate: int, num_bins: int, num_fft: int, low_hz: float, high_hz: float | None) -> Tensor:
    """Kaldi's triangles on its mel scale, ``[num_fft / 2 + 1, num_bins]``.

    Raises:
        ValueError: limits outside of ``0 <= low_hz < high_hz <= sample_rate / 2``.
    """
    high_hz = highest_of(sample_rate, low_hz, high_hz)
    filters, _ = kaldi.get_mel_banks(num_bins, num_fft, sample_rate, low_hz, high_hz, 100.0, -500.0, 1.0)
    return torch.nn.functional.pad(filters, (0, 1)).T.contiguous()
