"""Wave tokenizer: the frames of a speech encoder's stem (wav2vec 2.0, Baevski et al. 2020, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask import Prediction, Sequence, Tokenizer, Tokens
from unmask.api import at_least
from unmask_audio.drawing import spectrogram
from unmask_audio.frontends import Fbank
from unmask_audio.listening import wav_bytes
from unmask_audio.speech.stem import joined

NUM_SEGMENTS = 16
"""Stretches of a clip of which `WaveTokenizer.raw` gives the mean spectrum each."""


class WaveTokenizer(Tokenizer):
    """``[B, S]`` to values ``[B, N, W]`` on a `Sequence`: a token is the W samples that one frame of the stem sees.

    Frame i begins at sample ``i * hop``, so windows overlap by ``W - hop`` samples, and samples behind the last whole
    window are left out. A clip has at least two frames: a shorter one goes on in silence.

    Args:
        window: W, samples that a frame sees; at least ``hop``. Paper: 25 ms.
        hop: samples between the beginnings of two frames, at least 1. Paper: 20 ms.
        sample_rate: of the waves, in Hz. Paper: 16,000.
        normalize: each clip to mean 0 and variance 1, over its real samples; the encoders of which the stem's first
            norm is over time do not depend on it.

    Raises:
        ValueError: a number outside its range; in `forward`, waves that are not ``[B, S]``.
    """

    def __init__(self, window: int = 400, hop: int = 320, sample_rate: int = 16_000, normalize: bool = True) -> None:
        super().__init__()
        at_least(1, hop=hop, sample_rate=sample_rate)
        at_least(hop, window=window)
        self.window = window
        self.hop = hop
        self.sample_rate = sample_rate
        self.normalize = normalize
        window_ms, hop_ms = (1000 * (samples + 0.5) / sample_rate for samples in (window, hop))  # are rounded down
        self.bank = Fbank(sample_rate, 64, window_ms, hop_ms)

    def forward(self, batch: Mapping[str, Any] | Tensor) -> Tokens:
        """Tokens of ``batch["wave"]`` (``batch["length"]`` ``[B]`` are its real samples), or of a bare tensor."""
        wave = batch["wave"] if isinstance(batch, Mapping) else batch  # [B, S]
        length = batch.get("length") if isinstance(batch, Mapping) else None
        if wave.ndim != 2:
            raise ValueError(f"`wave` must be [clips, samples], one channel, but is {list(wave.shape)}.")
        real = None if length is None else torch.arange(wave.shape[1], device=wave.device) < length[:, None]
        wave = _normalized(wave.float(), real) if self.normalize else wave.float()
        wave = wave if real is None else wave.masked_fill(~real, 0)
        wave = torch.nn.functional.pad(wave, (0, max(self.window + self.hop - wave.shape[1], 0)))
        values = wave.unfold(1, self.window, self.hop)  # [B, N, W], a view
        return Tokens(values, Sequence(), valid=None if length is None else self._valid(length, values.shape[1]))

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """The spectrum of each window: time to the right, frequency upwards; hidden frames grey, padding white."""
        levels = self._spectra(tokens)  # [B, N, F]
        real = self._real(tokens)[..., None].expand_as(levels)
        count = real.sum((1, 2), keepdim=True)
        mean = levels.masked_fill(~real, 0).sum((1, 2), keepdim=True) / count
        spread = (levels - mean).masked_fill(~real, 0).square().sum((1, 2), keepdim=True) / count
        covered = None if hidden is None else hidden[..., None].expand_as(levels)
        return spectrogram((levels - mean) / (spread + 1e-6).sqrt(), covered, ~real)

    def files(
        self, tokens: Tokens, hidden: Tensor | None = None, prediction: Prediction | None = None
    ) -> dict[str, list[bytes]]:
        """``.wav`` of each clip without padding; hidden frames are silent."""
        windows = tokens.values.detach()
        windows = windows if hidden is None else windows.masked_fill(hidden[..., None], 0)
        lengths = (self._real(tokens).sum(1) * self.hop).tolist()
        clips = zip(joined(windows, self.hop), lengths, strict=True)
        return {".wav": [wav_bytes(wave[:length], self.sample_rate) for wave, length in clips]}

    def raw(self, tokens: Tokens) -> Tensor:
        """Mean log spectra (64 mel bins) of 16 even stretches of each clip, in their order: ``[B, 1024]``."""
        clips = (spectra[real].T for spectra, real in zip(self._spectra(tokens), self._real(tokens), strict=True))
        pool = torch.nn.functional.adaptive_avg_pool1d
        return torch.stack([pool(clip, NUM_SEGMENTS).T.flatten() for clip in clips])

    def _spectra(self, tokens: Tokens) -> Tensor:
        """Log mel spectrum of each window ``[B, N, 64]``."""
        return self.bank(joined(tokens.values.detach(), self.hop)).values

    @staticmethod
    def _real(tokens: Tokens) -> Tensor:
        return (
            tokens.values.new_ones(tokens.values.shape[:2], dtype=torch.bool) if tokens.valid is None else tokens.valid
        )

    def _valid(self, length: Tensor, num_tokens: int) -> Tensor | None:
        frames = ((length - self.window).div(self.hop, rounding_mode="floor") + 1).clamp(min=2)  # [B]
        valid = torch.arange(num_tokens, device=length.device) < frames[:, None]
        return None if not torch.compiler.is_exporting() and bool(valid.all()) else valid


def _normalized(wave: Tensor, real: Tensor | None) -> Tensor:
    """As transformers' ``Wav2Vec2FeatureExtractor``: ``(x - mean) / sqrt(variance + 1e-7)`` over real samples."""
    if real is None:
        return (wave - wave.mean(1, keepdim=True)) / (wave.var(1, keepdim=True, correction=0) + 1e-7).sqrt()
    count = real.sum(1, keepdim=True).clamp(min=1)
    mean = wave.masked_fill(~real, 0).sum(1, keepdim=True) / count
    variance = (wave - mean).masked_fill(~real, 0).square().sum(1, keepdim=True) / count
    return (wave - mean) / (variance + 1e-7).sqrt()
