"""Kaldi's mel-frequency cepstral coefficients, as `torchaudio.compliance.kaldi.mfcc` has them, for batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchaudio.functional import compute_deltas, create_dct

from unmask_audio.frontends.fbank import Fbank
from unmask_audio.frontends.frontend import SAMPLE_RATE, FrontEnd

LIFTER = 22.0
"""Kaldi's: coefficient i is multiplied by ``1 + LIFTER / 2 * sin(pi i / LIFTER)``."""


class MFCC(FrontEnd):
    """Cosine transform of a log mel filter bank (see `Fbank`), coefficient 0 first, liftered.

    With ``deltas`` each is followed by its slopes: 39 features are what HuBERT's first clustering is made on (Hsu et
    al. 2021, section III-C), by windows of 25 ms every 10 ms.

    Args:
        sample_rate: of the waves, in Hz; None: in a config that of the data, else 16,000.
        num_coefficients: at least 1, at most ``num_bins``.
        num_bins: mel filters, at least 4.
        deltas: append first and second slopes over 5 frames; beyond its ends a clip stays as it is there.
        window_ms: length of a frame, in milliseconds.
        hop_ms: from one frame to the next.
        window: as in `Fbank`.
        low_hz: as in `Fbank`.
        high_hz: as in `Fbank`.

    Raises:
        ValueError: a value outside its range.
    """

    transform: Tensor
    lifter: Tensor

    def __init__(
        self,
        sample_rate: int | None = None,
        num_coefficients: int = 13,
        num_bins: int = 23,
        deltas: bool = False,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        window: str = "povey",
        low_hz: float = 20.0,
        high_hz: float | None = None,
    ) -> None:
        sample_rate = SAMPLE_RATE if sample_rate is None else sample_rate
        fbank = Fbank(sample_rate, num_bins, window_ms, hop_ms, window, low_hz, high_hz)
        super().__init__(sample_rate, fbank.hop, num_coefficients * (3 if deltas else 1))
        if not 1 <= num_coefficients <= num_bins:
            raise ValueError(f"`num_coefficients` must be in [1, `num_bins` {num_bins}], but is {num_coefficients}.")
        self.fbank = fbank
        self.deltas = deltas
        turns = math.pi * torch.arange(num_coefficients) / LIFTER
        self.register_buffer("transform", create_dct(num_coefficients, num_bins, "ortho"), persistent=False)
        self.register_buffer("lifter", 1 + LIFTER / 2 * turns.sin(), persistent=False)

    def count(self, num_samples: Tensor) -> Tensor:
        return self.fbank.count(num_samples)

    def features(self, wave: Tensor, frames: Tensor | None) -> Tensor:
        cepstra = self.fbank.features(wave, frames) @ self.transform * self.lifter  # [B, T, C]
        if not self.deltas:
            return cepstra
        first = self._slopes(cepstra, frames)
        return torch.cat([cepstra, first, self._slopes(first, frames)], dim=-1)  # [B, T, 3 C]

    def power(self, features: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Of the smoothed filter bank that the coefficients tell; a frame with any hidden is silent."""
        cepstra = features[..., : len(self.lifter)] / self.lifter
        bank = cepstra @ self.transform.T  # [B, T, filters]
        return self.fbank.power(bank, None if hidden is None else hidden.any(-1, keepdim=True))

    def window(self) -> Tensor:
        return self.fbank.window()

    @staticmethod
    def _slopes(values: Tensor, frames: Tensor | None) -> Tensor:
        """Over 5 frames of ``values`` ``[B, T, C]``; a clip's last frame stands in for those beyond its end."""
        if frames is not None:
            place = torch.arange(values.shape[1], device=values.device).minimum(frames[:, None] - 1)  # [B, T]
            values = values.gather(1, place[..., None].expand_as(values))
        return compute_deltas(values.transpose(1, 2)).transpose(1, 2)
