"""Log-mel spectrogram of centred frames, as `torchaudio.transforms.MelSpectrogram` and librosa have it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from unmask.api import at_least
from unmask_audio.frontends.frontend import SAMPLE_RATE
from unmask_audio.frontends.mel import LogMelEnergies
from unmask_audio.frontends.mel_frontend import MelFrontEnd, highest_of


class LogMel(MelFrontEnd):
    """``log(max(|FFT(hann * frame)|^2 . mel filters, floor))``, natural logarithm.

    Frame t is centred at sample ``t * hop``, so a clip of n samples has ``1 + n // hop`` of them; outside of the clip
    there is silence (others mirror the clip there, which would need its end to be known). The FFT has as many points
    as the next power of 2 from the window on.

    Args:
        sample_rate: of the waves, in Hz; None: in a config that of the data, else 16,000.
        num_bins: F, mel filters, at least 1. 80 in TERA and most of speech.
        window_ms: length of a frame, in milliseconds.
        hop_ms: from one frame to the next.
        low_hz: where the lowest filter begins, at least 0.
        high_hz: where the highest ends, at most half the sample rate; None: there.
        floor: least energy, above 0.
        mel_scale: ``htk`` or ``slaney``; filters of the latter have equal areas, as in librosa.

    Raises:
        ValueError: a value outside its range.
    """

    def __init__(
        self,
        sample_rate: int | None = None,
        num_bins: int = 80,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        low_hz: float = 0.0,
        high_hz: float | None = None,
        floor: float = 1e-10,
        mel_scale: Literal["htk", "slaney"] = "htk",
    ) -> None:
        sample_rate = SAMPLE_RATE if sample_rate is None else sample_rate
        super().__init__(sample_rate, num_bins, window_ms, hop_ms)
        at_least(1, num_bins=num_bins)
        high_hz = highest_of(sample_rate, low_hz, high_hz)
        if not floor > 0:
            raise ValueError(f"`floor` must be above 0, but is {floor}.")
        if mel_scale not in ("htk", "slaney"):
            raise ValueError(f"`mel_scale` must be 'htk' or 'slaney', but is {mel_scale!r}.")
        norm = "slaney" if mel_scale == "slaney" else None
        filters = melscale_fbanks(self.num_fft // 2 + 1, low_hz, high_hz, num_bins, sample_rate, norm, mel_scale)
        self.mel = LogMelEnergies(torch.hann_window(self.size), filters, floor)

    def count(self, num_samples: Tensor) -> Tensor:
        return 1 + num_samples // self.hop

    def features(self, wave: Tensor, frames: Tensor | None) -> Tensor:
        before = self.size - self.size // 2
        wave = torch.nn.functional.pad(wave, (before, self.size - before))
        return self.mel(wave.unfold(1, self.size, self.hop))  # [B, T, F]
