"""What is odd about sounds is counted and named, and nothing of it becomes NaN; windows cover their sounds."""

import math
import warnings

import numpy as np
import pytest
import soundfile
import torch

from unmask_audio.data import clips as clips_module
from unmask_audio.data.augment import Gain, Roll
from unmask_audio.data.files import AudioFilesData
from unmask_audio.frontends import MFCC, Fbank, LogMel
from unmask_audio.tokenizer import SpectrogramTokenizer


def _tone(seconds, rate=16000, pitch=300.0, level=0.5):
    return level * np.sin(2 * math.pi * pitch * np.arange(int(seconds * rate)) / rate)


@pytest.fixture
def zoo(tmp_path):
    """One of each oddity, and three good files."""
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "good-1.wav", _tone(1.0), 16000)
    soundfile.write(tmp_path / "good-2.flac", _tone(2.5), 16000)
    soundfile.write(tmp_path / "good-3.ogg", _tone(0.5), 16000)
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "clipping.wav", np.clip(_tone(1.0, level=4.0), -1, 1), 16000)
    soundfile.write(tmp_path / "zero-seconds.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "one-sample.wav", np.ones(1) / 2, 16000)
    soundfile.write(tmp_path / "eight-channels.wav", np.stack([_tone(1.0)] * 8, 1), 16000)
    soundfile.write(tmp_path / "fast.wav", _tone(1.0, 192000), 192000)
    broken = _tone(1.0)
    broken[50] = math.nan
    soundfile.write(tmp_path / "not-a-number.wav", broken, 16000, subtype="FLOAT")
    for name in ("cut.flac", "cut.wav"):
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal(32000), 16000)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    (tmp_path / "text.mp3").write_text("this is no sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("of the recordings")
    return tmp_path


def _data(folder, **settings):
    return AudioFilesData(str(folder), **({"seconds": 1.0, "batch_size": 2, "num_workers": 0} | settings))


def test_all_that_is_odd_is_counted_and_named(zoo, capsys):
    data = _data(zoo)
    data.setup("fit")
    told = capsys.readouterr().out
    assert told.startswith("10 sounds: 10.") and "at 16,000 Hz" in told
    for line in (
        "2 cannot be used and are left out: empty.wav (no audio",
        "text.mp3 (no audio",
        "2 shorter than `min_seconds` and left out: one-sample.wav (1 sample), zero-seconds.wav (0 samples)",
        "2 end too early, and are used as far as they go: cut.flac, cut.wav",
        "1 have values that are not finite, which became 0: not-a-number.wav (1 sample)",
        "1 are silent, and are used: silence.wav",
        "1 are clipped, and are used: clipping.wav",
        "1 of more than 2 channels, which are averaged: eight-channels.wav (8)",
        "resampled: 1 of 192,000 Hz",
        "1 files with other endings are left out: notes.txt.",
        "9 windows to train on, 3 to validate on.",
    ):
        assert line in told, line
    data.setup("fit")
    assert capsys.readouterr().out == ""  # once


@pytest.mark.parametrize("frontend", [Fbank(num_bins=64), LogMel(num_bins=64), MFCC()])
@pytest.mark.parametrize("stored", [True, False])
def test_no_oddity_becomes_nan(frontend, stored, zoo, monkeypatch, recwarn):
    monkeypatch.setattr(clips_module, "STORED_BYTES", 2**30 if stored else 0)
    data = _data(zoo, min_seconds=1 / 16000)
    data.setup("fit")
    tokenizer = SpectrogramTokenizer(frontend, None, (4, 1), mean=-6.0, std=3.0)
    seen = 0
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            assert batch["wave"].shape[1] == 16000 and batch["wave"].isfinite().all()
            assert (batch["length"] >= 1).all() and (batch["length"] <= 16000).all()
            beyond = torch.arange(16000) >= batch["length"][:, None]
            assert (batch["wave"][beyond] == 0).all()
            tokens = tokenizer(batch)
            assert tokens.values.isfinite().all() and tokenizer.raw(tokens).isfinite().all()
            seen += len(batch["wave"])
    assert seen >= 10


def test_damage_that_shows_up_late_is_told_and_stood_in_for(tmp_path, monkeypatch):
    monkeypatch.setattr(clips_module, "STORED_BYTES", 0)
    soundfile.write(tmp_path / "a.wav", _tone(4.0), 16000)
    soundfile.write(tmp_path / "b.flac", 0.1 * np.random.default_rng(0).standard_normal(64000), 16000)
    content = (tmp_path / "b.flac").read_bytes()
    (tmp_path / "b.flac").write_bytes(content[: len(content) // 4])
    data = _data(tmp_path, batch_size=1)
    data.setup("fit")
    assert not data.report.checked and "too much to be looked at in full" in str(data.report)
    both = data.splits.train.clips
    with pytest.warns(UserWarning, match=r"b\.flac is damaged .*; another stretch of sound stands in"):
        sample = both.sample(1, 48000)  # beyond what is left of it
    assert torch.equal(sample["wave"], both.sample(1, 0)["wave"]) and sample["wave"].abs().max() > 0
    (tmp_path / "b.flac").write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is told once
        assert torch.equal(both.sample(1, 0)["wave"], both.sample(0, 0)["wave"])
    (tmp_path / "a.wav").unlink()
    with pytest.warns(UserWarning, match="a.wav is damaged"), pytest.raises(ValueError, match="None of the 2 sounds"):
        both.sample(1, 0)


def test_samples_that_are_not_finite_are_told_when_they_are_met(tmp_path, monkeypatch):
    monkeypatch.setattr(clips_module, "STORED_BYTES", 0)
    wave = _tone(2.0)
    wave[20000:] = math.inf
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, wave, 16000, subtype="FLOAT")
    data = _data(tmp_path, batch_size=1)
    data.setup("fit")
    clips = data.splits.train.clips
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert clips.sample(0, 0)["wave"].abs().max() > 0
    with pytest.warns(UserWarning, match=r"^a\.wav has samples that are not finite, which became 0\.$"):
        filled = clips.sample(0, 16000)["wave"]
    assert filled.isfinite().all() and (filled[4000:] == 0).all() and filled[:4000].abs().max() > 0


def test_samples_that_are_whole_numbers_are_told(tmp_path):
    for name, level in (("a.wav", 0.5), ("b.wav", 20000.0), ("c.wav", 2.0)):
        soundfile.write(tmp_path / name, _tone(1.0, level=level), 16000, subtype="FLOAT")
    data = _data(tmp_path, batch_size=1)
    data.setup("fit")
    told = str(data.report)
    assert "1 go far beyond [-1, 1], as whole numbers do, and are used as they are: b.wav." in told
    assert "1 are clipped, and are used: c.wav." in told


@pytest.mark.parametrize("stored", [True, False])
def test_windows_cover_a_sound_and_are_full(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(clips_module, "STORED_BYTES", 2**30 if stored else 0)
    ramp = np.arange(44000) / 44000
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, ramp, 16000, subtype="FLOAT")
    data = _data(tmp_path, batch_size=1)
    data.setup("fit")
    windows = data.splits.val
    assert len(windows) == 3 and [start for _, start in windows.windows] == [0, 14000, 28000]
    for (_, start), sample in zip(windows.windows, windows, strict=False):
        assert "length" not in sample
        assert np.allclose(sample["wave"], ramp[start : start + 16000], atol=1e-6)


def test_training_windows_are_drawn_anew_from_anywhere(tmp_path):
    ramp = np.arange(64000) / 64000
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, ramp, 16000, subtype="FLOAT")
    data = _data(tmp_path, batch_size=1)
    torch.manual_seed(0)
    data.setup("fit")
    loader = data.train_dataloader()
    starts = [round(float(batch["wave"][0, 0]) * 64000) for _ in range(4) for batch in loader]
    assert len(starts) == 16 and len(set(starts)) > 12
    assert min(starts) < 12000 and max(starts) > 36000 and max(starts) <= 48000
    assert all(set(batch) == {"wave", "name", "piece", "index"} for batch in loader)


def test_turned_around_and_louder():
    wave = torch.arange(1.0, 11.0)
    torch.manual_seed(0)
    turned = [Roll()({"wave": wave, "length": 6})["wave"] for _ in range(20)]
    assert all(torch.equal(one[6:], wave[6:]) and one[:6].sort().values.equal(wave[:6]) for one in turned)
    assert all((one[:6].diff() == 1).sum() >= 4 for one in turned) and len({float(one[0]) for one in turned}) > 3
    louder = [float((Gain()({"wave": wave})["wave"] / wave).mean()) for _ in range(50)]
    assert 0.5 <= min(louder) < 0.7 and 1.5 < max(louder) <= 2


def test_an_augmentation_of_ones_own(zoo):
    data = _data(zoo, augment=lambda sample: sample | {"wave": -sample["wave"]}, min_seconds=1.0)
    data.setup("fit")
    plain = {bytes(sample["wave"].numpy().tobytes()) for sample in data.splits.train}
    for batch in data.train_dataloader():
        full = [wave for wave in batch["wave"] if wave.abs().max() > 0]
        assert any((-wave).numpy().tobytes() in plain for wave in full) or not full or "length" not in batch


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sample_rate": 0}, "`sample_rate` must be at least 1"),
        ({"seconds": 0.05}, "`min_seconds` must be above 0 and at most `seconds` 0.05, but is 0.1"),
        ({"min_seconds": 0.0}, "but is 0"),
        ({"augment": ("rol",)}, "has 'rol'; nearest: `roll`"),
        ({"val_ratio": 1.0}, r"`val_ratio` must be in \[0, 1\), but is 1.0"),
    ],
)
def test_wrong_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        _data("anywhere", **settings)
