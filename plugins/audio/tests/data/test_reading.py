"""Files of all kinds, good and bad, against what they must sound like."""

import io
import math

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from unmask.data import Unreadable
from unmask_audio.data import reading
from unmask_audio.data.reading import read_header, read_wave, resample


def _tone(rate, seconds=0.5, pitch=300.0, channels=1):
    time = np.arange(int(rate * seconds)) / rate
    tone = 0.5 * np.sin(2 * math.pi * pitch * time)
    return np.stack([tone * (channel + 1) / channels for channel in range(channels)], axis=1)


def _read(path, rate=16000, **where):
    header = read_header(lambda: path)
    return read_wave(lambda: path, header, rate, **where)


@pytest.mark.parametrize(
    ("name", "settings", "rate"),
    [
        ("a.wav", {}, 16000),
        ("b.wav", {"subtype": "PCM_24"}, 192000),
        ("c.wav", {"subtype": "FLOAT"}, 8000),
        ("d.wav", {"subtype": "PCM_U8"}, 11025),
        ("e.flac", {}, 44100),
        ("f.ogg", {"subtype": "VORBIS"}, 22050),
        ("g.ogg", {"subtype": "OPUS"}, 48000),
        ("h.mp3", {}, 44100),
        ("i.aiff", {}, 32000),
        ("j.wav", {}, 16001),
    ],
)
def test_kinds_and_rates(name, settings, rate, tmp_path):
    soundfile.write(tmp_path / name, _tone(rate), rate, **settings)
    wave, num_odd = _read(tmp_path / name)
    expected = _tone(16000)[:, 0]
    assert num_odd == 0 and wave.dtype == np.float32
    assert abs(len(wave) - len(expected)) <= (2000 if name.endswith(("ogg", "mp3")) else 1)
    middle = slice(1000, 6000)
    shift = 0
    if name.endswith(("ogg", "mp3")):  # lossy ones may begin a little late
        spectrum = np.fft.rfft(wave, 16384) * np.conj(np.fft.rfft(expected, 16384))
        shift = int(np.fft.irfft(spectrum)[:53].argmax())
    error = wave[middle.start + shift : middle.stop + shift] - expected[middle]
    assert np.sqrt(np.mean(error**2)) < (0.03 if name.endswith(("ogg", "mp3", "d.wav")) else 2e-3)


def test_channels_are_averaged(tmp_path):
    eight = _tone(16000, channels=8)
    soundfile.write(tmp_path / "a.wav", eight, 16000, subtype="FLOAT")
    assert read_header(lambda: tmp_path / "a.wav").channels == 8
    assert np.allclose(_read(tmp_path / "a.wav").samples, eight.mean(1), atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 192000])
def test_a_stretch_is_the_same_as_of_the_whole(rate, tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal(rate)
    soundfile.write(tmp_path / "a.flac", noise, rate)
    whole = _read(tmp_path / "a.flac").samples
    for start, count in ((0, 500), (3000, 1600), (15000, 4000), (15999, 1)):
        part = _read(tmp_path / "a.flac", start=start, num_samples=count).samples
        assert np.allclose(part, whole[start : start + count], atol=1e-6), (start, count)


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 16000), (8000, 16000), (48000, 16000)])
def test_resampling_is_torchaudios(rate, wanted):
    """Where neither has a band edge: a tone in the middle of the band."""
    tone = _tone(rate, pitch=1500.0)[:, 0].astype(np.float32)
    theirs = torchaudio.functional.resample(torch.from_numpy(tone), rate, wanted, lowpass_filter_width=64).numpy()
    ours = resample(tone, rate, wanted)
    assert len(ours) == math.ceil(len(tone) * wanted / rate) == len(theirs)
    assert np.allclose(ours[500:-500], theirs[500:-500], atol=2e-3)


def test_what_a_lower_rate_cannot_hold_is_left_out():
    high = _tone(48000, pitch=12000.0)[:, 0].astype(np.float32)
    assert np.abs(resample(high, 48000, 16000)[200:-200]).max() < 1e-4 * 0.5 * 2


def test_odd_samples_become_zero(tmp_path):
    wave = _tone(16000)
    wave[100:103] = [[math.nan], [math.inf], [-math.inf]]
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    samples, num_odd = _read(tmp_path / "a.wav")
    assert num_odd == 3 and np.isfinite(samples).all() and (samples[100:103] == 0).all()


def test_cut_files_go_as_far_as_they_go(tmp_path):
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, 0.1 * np.random.default_rng(0).standard_normal(32000), 16000)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    header = read_header(lambda: tmp_path / "a.wav")
    assert header.cut and abs(header.num_samples - 16000) < 50
    assert len(_read(tmp_path / "a.wav").samples) == header.num_samples
    header = read_header(lambda: tmp_path / "a.flac")
    assert header.num_samples == 32000  # it says so; what can be decoded is less
    assert 8000 < len(_read(tmp_path / "a.flac").samples) < 20000
    assert len(_read(tmp_path / "a.flac", start=4000, num_samples=2000).samples) == 2000


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.wav", b"", "no audio"),
        ("a.wav", b"hello, this is a text", "no audio"),
        ("a.flac", b"fLaC" + bytes(20), "no audio"),
        ("a.mp3", b"\0" * 4000, "."),
        ("a.m4a", b"....ftypM4A ", "needs torchcodec: pip install"),
    ],
)
def test_what_is_no_audio_is_said(name, content, said, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Unreadable, match=said):
        _read(tmp_path / name)


@pytest.mark.parametrize("rate", [1, 99, 1_000_003, 2**31 - 1])
def test_a_header_of_an_impossible_rate_is_not_believed(rate, tmp_path):
    soundfile.write(tmp_path / "a.wav", _tone(16000), 16000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(Unreadable, match=rf"its header says {rate:,} Hz, but a rate must be in \[100, 1,000,000\]"):
        read_header(lambda: tmp_path / "a.wav")


def test_a_missing_file_stays_one(tmp_path):
    with pytest.raises((FileNotFoundError, Unreadable)):
        read_header(lambda: tmp_path / "gone.wav")


def test_bytes_are_read_like_files():
    file = io.BytesIO()
    soundfile.write(file, _tone(16000), 16000, format="FLAC")

    def opened():
        return io.BytesIO(file.getvalue())

    assert np.allclose(read_wave(opened, read_header(opened), 16000).samples, _tone(16000)[:, 0], atol=1e-4)


def test_other_kinds_are_left_to_torchcodec(tmp_path, monkeypatch):
    """Which is not at hand everywhere: torchaudio's way to it is stood in for."""
    tone = torch.from_numpy(_tone(32000, channels=2).T).float()
    monkeypatch.setattr(reading.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torchaudio, "load", lambda path: (tone, 32000))
    path = tmp_path / "a.m4a"
    path.write_bytes(b"")
    assert read_header(lambda: path) == (16000, 32000, 2, False)
    assert np.allclose(_read(path, 32000, start=10, num_samples=50).samples, tone.mean(0)[10:60], atol=1e-6)
    assert len(_read(path).samples) == 8000


def test_a_header_that_claims_years_of_sound_is_refused():
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1000), 16000, format="FLAC")
    content = bytearray(file.getvalue())
    assert read_header(lambda: io.BytesIO(bytes(content))).num_samples == 1000
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4  # 36 bits of samples, all set
    with pytest.raises(Unreadable, match="must unpack to at most 256 MB"):
        read_header(lambda: io.BytesIO(bytes(content)))
