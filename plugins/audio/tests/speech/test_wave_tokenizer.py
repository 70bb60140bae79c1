"""Wave tokenizer: windows of the stem, normalised as transformers does; odd clips; what is drawn and written."""

import io

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2FeatureExtractor

from unmask import Sequence
from unmask_audio.encoders.speech import SpeechEncoder
from unmask_audio.speech import WaveTokenizer
from unmask_audio.speech.stem import joined


def test_tokens_are_windows():
    wave = torch.randn(2, 1400, generator=torch.Generator().manual_seed(0))
    tokens = WaveTokenizer(normalize=False)(wave)
    assert tokens.layout == Sequence()
    assert tokens.valid is None
    assert tokens.values.shape == (2, 4, 400)  # the last begins at 960 and ends at 1360
    for frame in range(4):
        assert torch.equal(tokens.values[:, frame], wave[:, 320 * frame : 320 * frame + 400])
    assert torch.equal(joined(tokens.values, 320), wave[:, :1360])


def test_lengths_become_frames():
    wave = torch.randn(6, 1400, generator=torch.Generator().manual_seed(0))
    length = torch.tensor([1400, 1360, 1359, 720, 1, 0])
    tokens = WaveTokenizer(normalize=False)({"wave": wave, "length": length})
    assert tokens.valid.sum(1).tolist() == [4, 4, 3, 2, 2, 2]
    assert tokens.values[4].flatten()[1:].abs().sum() == 0  # what lies behind the end is silence
    alike = WaveTokenizer()({"wave": wave, "length": torch.tensor([1400] * 6)})
    assert alike.valid is None


@pytest.mark.parametrize("ragged", [True, False])
def test_normalised_as_transformers(ragged, clips):
    batch = clips(ragged)
    wave = batch["wave"] * 3 + 0.7 * (batch["wave"] != 0)
    tokens = WaveTokenizer()(batch | {"wave": wave})
    lengths = batch.get("length", torch.tensor([wave.shape[1]] * 3)).tolist()
    given = [row[:length].numpy() for row, length in zip(wave, lengths, strict=True)]
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    theirs = extractor(given, sampling_rate=16_000, padding=True, return_tensors="pt")
    found = joined(tokens.values, 320)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(found[row, :length], theirs.input_values[row, :length], rtol=1e-4, atol=1e-5)
        assert found[row, length:].abs().sum() == 0


@pytest.mark.parametrize("normalize", [True, False])
def test_odd_clips_have_finite_codes(settings, normalize):
    """Silence, clipping, a constant, a click, and lengths of nothing, one sample and less than a window."""
    encoder = SpeechEncoder(settings()).eval()
    wave = torch.zeros(6, 2000)
    wave[1] = torch.where(torch.arange(2000) % 40 < 20, 1.0, -1.0)
    wave[2], wave[3, 700], wave[4, 0] = 0.5, 1.0, 1.0
    length = torch.tensor([2000, 2000, 2000, 1000, 1, 0])
    with torch.no_grad():
        tokens = WaveTokenizer(normalize=normalize)({"wave": wave, "length": length})
        assert bool(tokens.values.isfinite().all())
        assert bool(encoder(tokens).values.isfinite().all())
        short = WaveTokenizer(normalize=normalize)(torch.ones(2, 1))
        assert short.values.shape == (2, 2, 400)
        assert bool(encoder(short).values.isfinite().all())


def test_a_picture_shows_pitch_hidden_frames_and_padding(clips, some_hidden):
    batch = clips()
    times = torch.arange(batch["wave"].shape[1]) / 16_000
    wave = torch.stack([torch.sin(2 * torch.pi * pitch * times) for pitch in (300.0, 3000.0, 300.0)])
    tokenizer = WaveTokenizer()
    tokens = tokenizer(batch | {"wave": wave})
    plain = tokenizer.render(tokens)
    assert [picture.shape for picture in plain] == [(64, 31, 3)] * 3
    low, high = (picture[:, 4].astype(int).sum(1).argmax() for picture in plain[:2])
    assert high < low  # frequency goes upwards
    assert (plain[2][:, 8:] == 255).all()
    assert not (plain[2][:, :8] == 255).all(-1).any()
    drawn = tokenizer.render(tokens, some_hidden & tokens.valid)
    grey = (drawn[0] == drawn[0][..., :1]).all(-1).all(0)
    assert np.array_equal(grey, some_hidden[0].numpy())


def test_files_are_what_was_heard(clips, some_hidden):
    batch = clips()
    tokenizer = WaveTokenizer(sample_rate=8000, normalize=False)
    tokens = tokenizer(batch | {"wave": batch["wave"] * 0.1})
    (plain, _, short), (hidden, _, _) = (tokenizer.files(tokens, h)[".wav"] for h in (None, some_hidden & tokens.valid))
    heard, rate = soundfile.read(io.BytesIO(plain), dtype="float32")
    assert rate == 8000
    assert np.allclose(heard, 0.1 * batch["wave"][0, : 31 * 320].numpy(), atol=1e-4)
    assert len(soundfile.read(io.BytesIO(short))[0]) == 8 * 320
    seen, _ = soundfile.read(io.BytesIO(hidden), dtype="float32")
    for frame, is_hidden in enumerate(some_hidden[0].tolist()):
        part = slice(320 * frame, 320 * (frame + 1))
        assert np.array_equal(seen[part], np.zeros(320) if is_hidden else heard[part])


def test_raw_input_is_a_spectrum_in_stretches(clips):
    tokenizer = WaveTokenizer()
    both = tokenizer.raw(tokenizer(clips()))
    assert both.shape == (3, 16 * 64)
    alone = clips()["wave"][1:2, :6800]
    torch.testing.assert_close(tokenizer.raw(tokenizer(alone))[0], both[1], rtol=1e-4, atol=1e-3)
    assert not torch.allclose(both[0], both[1], atol=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WaveTokenizer(window=100), "`window` must be at least 320, but is 100"),
        (lambda: WaveTokenizer(hop=0), "`hop` must be at least 1, but is 0"),
        (lambda: WaveTokenizer(sample_rate=0), "`sample_rate` must be at least 1"),
        (lambda: WaveTokenizer()(torch.zeros(2, 2, 900)), r"`wave` must be \[clips, samples\]"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
