"""Spectra as sound: phases by Griffin and Lim (1984) in the quick form of Perraudin et al. (2013), and WAV files."""

from __future__ import annotations

import io

import soundfile
import torch
import torchaudio.functional as AF
from torch import Tensor

NUM_ITERATIONS = 32
LOUDEST = 0.7
"""Highest peak of a file; louder ones are turned down, so that none is clipped."""


def griffin_lim(power: Tensor, window: Tensor, hop: int) -> Tensor:
    """Waves whose frames have about these spectra; the same in every call.

    Args:
        power: ``[B, T, bins]``, at least 0.
        window: ``[W]``, by which frames were weighted.
        hop: samples from one frame to the next.

    Returns:
        ``[B, (T + 1) * hop]``, or a little less where the window is longer than that.
    """
    spectrum = power.float().transpose(1, 2)  # [B, bins, T]
    spectrum = torch.nn.functional.pad(spectrum, (1, 1))  # silence around, for at least three frames
    num_fft = 2 * (spectrum.shape[1] - 1)
    return AF.griffinlim(
        spectrum, window.float(), num_fft, hop, len(window), power=2.0, n_iter=NUM_ITERATIONS, momentum=0.99,
        length=None, rand_init=False,
    )  # fmt: skip


def wav_bytes(wave: Tensor, sample_rate: int) -> bytes:
    """A mono WAV file of 16 bits; samples that are not finite become 0."""
    wave = wave.detach().float().nan_to_num(0, 0, 0).cpu()
    peak = float(wave.abs().max()) if len(wave) else 0.0
    file = io.BytesIO()
    scaled = wave * (LOUDEST / peak) if peak > LOUDEST else wave
    soundfile.write(file, scaled.numpy(), sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()
