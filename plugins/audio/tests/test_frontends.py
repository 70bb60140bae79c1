"""Front ends against torchaudio's, clip by clip, and against their own batches."""

import math

import numpy as np
import pytest
import torch
import torchaudio
from torchaudio.compliance import kaldi

from unmask_audio.frontends import MFCC, Fbank, LogMel
from unmask_audio.frontends import mel as mel_module


@pytest.fixture
def clips():
    """A tone over noise, noise, a click in silence, silence, clipping, a constant, and a chirp: half a second."""
    time = torch.arange(8000) / 16000
    noise = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0))
    click = torch.zeros(8000)
    click[4000] = 1
    tone = 0.5 * (2 * math.pi * 440 * time).sin()
    chirp = 0.3 * (2 * math.pi * (100 + 7000 * time) * time).sin()
    return torch.stack([tone + 0.01 * noise, noise, click, 0 * time, (4 * tone).clamp(-1, 1), 0 * time + 0.7, chirp])


KALDI = {
    "window": "window_type", "num_bins": "num_mel_bins", "preemphasis": "preemphasis_coefficient",
    "low_hz": "low_freq", "high_hz": "high_freq", "sample_rate": "sample_frequency", "window_ms": "frame_length",
    "hop_ms": "frame_shift", "num_coefficients": "num_ceps",
}  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"num_bins": 128, "window": "hanning"},  # Audio-MAE's
        {"num_bins": 23, "window": "povey"},  # Kaldi's own
        {"num_bins": 40, "window": "hamming", "preemphasis": 0.0},
        {"num_bins": 64, "window": "rectangular", "low_hz": 0.0, "high_hz": 7000.0},
        {"num_bins": 80, "window": "hanning", "sample_rate": 8000, "window_ms": 32.0, "hop_ms": 12.5},
    ],
)
def test_fbank_is_kaldis(settings, clips):
    theirs = {KALDI[name]: value for name, value in settings.items()}
    expected = torch.stack([kaldi.fbank(clip[None], **theirs) for clip in clips])
    values, frames = Fbank(**settings)(clips)
    assert frames is None and values.shape == expected.shape
    assert torch.allclose(values, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"num_coefficients": 20, "num_bins": 40, "window": "hanning"}])
def test_mfcc_is_kaldis(settings, clips):
    theirs = {KALDI[name]: value for name, value in settings.items()}
    expected = torch.stack([kaldi.mfcc(clip[None], **theirs) for clip in clips])
    assert torch.allclose(MFCC(**settings)(clips).values, expected, rtol=0, atol=2e-4)


def test_deltas_are_torchaudios(clips):
    plain, more = MFCC()(clips).values, MFCC(deltas=True)(clips).values
    first = torchaudio.functional.compute_deltas(plain.transpose(1, 2))
    second = torchaudio.functional.compute_deltas(first)
    assert torch.equal(more, torch.cat([plain, first.transpose(1, 2), second.transpose(1, 2)], dim=-1))
    assert MFCC(deltas=True).width == 39


@pytest.mark.parametrize(("mel_scale", "norm"), [("htk", None), ("slaney", "slaney")])
def test_log_mel_is_torchaudios(mel_scale, norm, clips):
    made = torchaudio.transforms.MelSpectrogram(
        16000, 512, 400, 160, n_mels=80, pad_mode="constant", mel_scale=mel_scale, norm=norm
    )
    expected = made(clips).clamp(min=1e-10).transpose(1, 2)
    found = LogMel(mel_scale=mel_scale)(clips).values.exp()
    # Where a bin holds little beside a loud one, both round: torchaudio begins its FFT elsewhere in the frame.
    loudest = expected.amax(-1, keepdim=True)
    assert ((found - expected).abs() <= 1e-4 * expected + 1e-7 * loudest).all()


@pytest.mark.parametrize("make", [Fbank, LogMel, MFCC, lambda: MFCC(deltas=True)])
def test_a_clip_is_the_same_in_any_batch(make, clips):
    frontend = make()
    lengths = [8000, 1, 399, 400, 561, 7999, 3210]
    together = clips * (torch.arange(8000) < torch.tensor(lengths)[:, None])
    values, frames = frontend(together, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = frontend(together[row : row + 1, :length], torch.tensor([length]))
        count = int(frames[row])
        assert count == int(alone.frames[0]) >= 1
        assert alone.values.shape[1] >= count
        assert torch.allclose(values[row, :count], alone.values[0, :count], rtol=1e-5, atol=1e-4), length
    assert values.isfinite().all()


def test_pieces_and_one_piece_are_the_same(monkeypatch, clips):
    frontend = Fbank()
    frames = clips.unfold(1, 400, 160)
    whole = frontend.mel._at_once(frames)
    for piece in (7, 48, 100, 256):
        monkeypatch.setattr(mel_module, "PIECE", piece)
        assert torch.allclose(frontend.mel(frames), whole, rtol=0, atol=1e-5), piece


def test_memory_that_is_kept_serves_training_after_validation(monkeypatch, clips):
    monkeypatch.setattr(mel_module._KEPT, "memory", {}, raising=False)
    frontend = Fbank()
    with torch.inference_mode():
        first = frontend(clips).values.clone()
    assert torch.equal(frontend(clips).values, first)
    assert torch.equal(frontend(clips[:2]).values, first[:2])


def test_gradients_and_other_precisions(clips):
    wave = clips[:2].clone().requires_grad_()
    frontend = Fbank(num_bins=40)
    frontend(wave).values.sum().backward()
    assert wave.grad.isfinite().all() and (wave.grad != 0).any()
    with torch.autocast("cpu", torch.bfloat16):
        values = frontend(clips).values
    assert values.dtype == torch.float32 and torch.equal(values, frontend(clips).values)


def test_power_gives_back_a_spectrum(clips):
    """Of a tone: what was loudest is so again, without the tilt of the pre-emphasis."""
    for frontend in (Fbank(), LogMel(), MFCC()):
        values = frontend(clips[:1]).values
        power = frontend.power(values)
        assert power.shape[-1] == 257 and (power >= 0).all()
        assert abs(int(power[0, 10].argmax()) * 16000 / 512 - 440) < 80
        silent = frontend.power(values, torch.ones_like(values, dtype=torch.bool))
        assert silent.max() == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Fbank(window="haning"), "nearest: `hanning`"),
        (lambda: Fbank(num_bins=3), "`num_bins` must be at least 4, but is 3"),
        (lambda: Fbank(preemphasis=1.5), r"`preemphasis` must be in \[0, 1\], but is 1.5"),
        (lambda: Fbank(high_hz=9000.0), "0 <= low < high <= 8000, but are 20 and 9000"),
        (lambda: Fbank(window_ms=0.01), r"`window_ms` must be at least 2 samples \(0.125 ms\)"),
        (lambda: Fbank(sample_rate=0), "`sample_rate` must be at least 1, but is 0"),
        (lambda: Fbank(hop_ms=0.01), "The hop must be at least 1 sample, but is 0"),
        (lambda: LogMel(floor=0.0), "`floor` must be above 0"),
        (lambda: LogMel(mel_scale="mel"), "`mel_scale` must be 'htk' or 'slaney'"),
        (lambda: LogMel(low_hz=-1.0), "0 <= low < high <= 8000, but are -1 and 8000"),
        (lambda: MFCC(num_coefficients=24), r"must be in \[1, `num_bins` 23\], but is 24"),
        (lambda: Fbank()(torch.zeros(2, 3, 4)), r"must be \[clips, samples\] .* but is \[2, 3, 4\]"),
        (lambda: Fbank()(torch.zeros(2, 0)), r"but is \[2, 0\]"),
    ],
)
def test_wrong_settings(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_noise_is_as_loud_as_it_is():
    """By hand: white noise of variance v has the power v * sum(window^2) in each bin on average."""
    noise = 0.1 * torch.randn(1, 160_000, generator=torch.Generator().manual_seed(1))
    frontend = Fbank(num_bins=23, preemphasis=0.0)
    weights = frontend.mel.filters.sum(0)  # of each filter
    expected = 0.01 * float(frontend.window().square().sum()) * weights
    found = frontend(noise).values.exp().mean((0, 1))
    assert np.allclose(found / expected, 1, atol=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("make", [Fbank, LogMel, MFCC])
def test_on_a_gpu(make, clips):
    """Noise, of which no bin is weak beside another."""
    frontend, noise = make(), clips[1:2]
    expected = frontend(noise).values
    assert torch.allclose(frontend.cuda()(noise.cuda()).values.cpu(), expected, rtol=1e-4, atol=1e-3)
