"""Patches and frames of spectrograms: where each number comes from, and what is padding."""

import io
import math

import numpy as np
import pytest
import soundfile
import torch

from unmask import Grid, Sequence
from unmask_audio.drawing import COLOURS, HIDDEN, PADDING, spectrogram
from unmask_audio.frontends import MFCC, Fbank, LogMel
from unmask_audio.listening import griffin_lim, wav_bytes
from unmask_audio.tokenizer import FrameTokenizer, SpectrogramTokenizer


@pytest.fixture
def batch():
    """Four clips of a tone, of one second, a half, a frame and a sample."""
    time = torch.arange(16000) / 16000
    length = torch.tensor([16000, 8000, 400, 1])
    tone = 0.5 * (2 * math.pi * 1000 * time).sin() + 0.01 * torch.randn(4, 16000, generator=torch.Generator())
    return {"wave": tone * (torch.arange(16000) < length[:, None]), "length": length}


def _tokenizer(num_frames=104, patch=(8, 16), **settings):
    return SpectrogramTokenizer(Fbank(num_bins=64), num_frames, patch, **({"mean": -6.0, "std": 3.0} | settings))


def test_each_number_of_a_patch(batch):
    tokenizer = _tokenizer()
    tokens = tokenizer(batch)
    assert tokens.layout == Grid((13, 4)) and tokens.values.shape == (4, 52, 128)
    features = (Fbank(num_bins=64)(batch["wave"]).values + 6) / 6  # (x - mean) / (2 std)
    for row, column, frame, bin_ in ((0, 0, 0, 0), (3, 2, 5, 11), (11, 3, 7, 15)):
        patch = tokens.values[0, row * 4 + column]
        assert patch[frame * 16 + bin_] == features[0, row * 8 + frame, column * 16 + bin_]
    # 98 frames: of the last row of patches, frames 96 and 97 are real, the others 0.
    last = tokens.values[0, 48:].view(4, 8, 16)
    assert (last[:, :2] != 0).any() and (last[:, 2:] == 0).all()


def test_what_is_padding(batch):
    tokens = _tokenizer()(batch)
    assert tokens.valid.view(4, 13, 4).sum(1).tolist() == [[13] * 4, [6] * 4, [1] * 4, [1] * 4]
    assert (tokens.values[~tokens.valid] == 0).all() and tokens.values.isfinite().all()
    assert _tokenizer()({"wave": batch["wave"]}).valid is None  # as in Audio-MAE
    assert _tokenizer()(batch["wave"]).valid is None
    full = {"wave": batch["wave"][:1], "length": batch["length"][:1]}
    assert _tokenizer()(full).valid is None
    # What lies beyond a clip is never seen.
    other = batch | {"wave": torch.where(torch.arange(16000) < batch["length"][:, None], batch["wave"], 0)}
    assert torch.equal(_tokenizer()(other).values, tokens.values)


def test_each_clip_may_have_its_own_moments(batch):
    plain, own = _tokenizer(), _tokenizer(per_clip=True)
    given, found = plain.features(plain(batch)), own.features(own(batch))
    for clip, count in enumerate([98, 48, 1]):  # frames of 25 ms, every 10 ms; the fourth clip is silence
        real = given[clip, :count]
        expected = (real - real.mean()) / real.std(correction=0) * 3 - 6  # the level of the data
        torch.testing.assert_close(found[clip, :count], expected, atol=2e-4, rtol=1e-4)
    # Loudness and its change no longer matter, what lies beyond a clip never does, and silence is no NaN.
    louder = batch | {"wave": batch["wave"] * 8}
    torch.testing.assert_close(own(louder).values, own(batch).values, atol=2e-3, rtol=1e-3)
    silence = own({"wave": torch.zeros(2, 16000), "length": torch.tensor([16000, 1])}).values
    assert silence.abs().max() < 0.01


def test_long_clips_are_cut_and_lengths_follow_the_batch(batch):
    assert _tokenizer(48)(batch).layout == Grid((6, 4))
    assert torch.equal(_tokenizer(48)(batch).values, _tokenizer()(batch).values[:, :24])
    assert _tokenizer(None)(batch).layout == Grid((13, 4))
    half = {name: value[1:] for name, value in batch.items()} | {"wave": batch["wave"][1:, :8000]}
    assert _tokenizer(None)(half).layout == Grid((6, 4))


def test_frames_are_tokens(batch):
    frames = FrameTokenizer(LogMel(num_bins=40), stack=3, mean=-6.0, std=3.0)
    tokens = frames(batch)
    features = (LogMel(num_bins=40)(batch["wave"]).values + 6) / 6
    assert tokens.layout == Sequence() and tokens.values.shape == (4, 34, 120)
    assert torch.equal(tokens.values[0, :33], features[0, :99].reshape(33, 120))
    assert tokens.valid.sum(1).tolist() == [34, 17, 1, 1]


def test_moments_may_be_of_each_feature(batch):
    mean, std = list(map(float, range(13))), list(map(float, range(1, 14)))
    tokens = FrameTokenizer(MFCC(), mean=mean, std=std)(batch)
    expected = (MFCC()(batch["wave"]).values[0] - torch.tensor(mean)) / (2 * torch.tensor(std))
    assert torch.equal(tokens.values[0], expected)


@pytest.mark.parametrize("frontend", [Fbank(num_bins=64), LogMel(num_bins=64)])
def test_features_come_back(frontend, batch):
    tokenizer = SpectrogramTokenizer(frontend, None, (4, 8), mean=-6.0, std=3.0)
    tokens = tokenizer(batch)
    expected, frames = frontend(batch["wave"], batch["length"])
    for row, count in enumerate(frames.tolist()):
        assert torch.allclose(tokenizer.features(tokens)[row, :count], expected[row, :count], rtol=0, atol=1e-5)


def test_pictures(batch):
    tokenizer = _tokenizer()
    tokens = tokenizer(batch)
    hidden = torch.zeros(4, 52, dtype=torch.bool)
    hidden[:, 5] = True  # row 1, column 1: frames 8 to 15, bins 16 to 31
    plain, covered = tokenizer.render(tokens), tokenizer.render(tokens, hidden)
    assert plain[0].shape == (64, 104, 3) and plain[0].dtype == np.uint8
    where = (covered[0] == HIDDEN).all(-1)
    assert where.sum() == 8 * 16 and where[64 - 32 : 64 - 16, 8:16].all()
    assert not (plain[0] == HIDDEN).all(-1).any()
    assert (plain[1][:, 48:] == PADDING).all() and not (plain[1][:, :48] == PADDING).all(-1).any()
    # A tone of 1 kHz is a bright line in the lower half.
    assert 32 < plain[0][:, 40].sum(-1).argmax() < 60


def test_loud_is_bright_and_numbers_that_are_none_are_drawn():
    levels = torch.tensor([[[-9.0, -2.0, 0.0, 2.0, 9.0, math.nan]]])
    colours = spectrogram(levels)[0][::-1, 0]
    assert np.array_equal(colours[0], COLOURS[0]) and np.array_equal(colours[1], COLOURS[0])
    assert np.array_equal(colours[3], COLOURS[-1]) and np.array_equal(colours[4], COLOURS[-1])
    assert np.array_equal(colours[2], colours[5])


def _heard(content):
    wave, rate = soundfile.read(io.BytesIO(content))
    return wave, rate


def test_files_are_the_sound_and_hidden_parts_are_silent(batch):
    tokenizer = _tokenizer()
    tokens = tokenizer(batch)
    whole = tokenizer.files(tokens)[".wav"]
    wave, rate = _heard(whole[0])
    assert rate == 16000 and len(wave) == 104 * 160
    assert abs(np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave) - 1000) < 50
    assert [len(_heard(content)[0]) for content in whole] == [104 * 160, 48 * 160, 8 * 160, 8 * 160]
    assert tokenizer.files(tokens)[".wav"] == whole  # always the same

    hidden = torch.zeros(4, 13, 4, dtype=torch.bool)
    hidden[:, 4:8] = True  # frames 32 to 63
    seen, _ = _heard(tokenizer.files(tokens, hidden.flatten(1))[".wav"][0])
    middle, loud = seen[38 * 160 : 58 * 160], seen[5 * 160 : 25 * 160]
    assert np.abs(middle).max() < 0.05 * np.abs(loud).max()


def test_spectra_become_waves_again():
    """Griffin and Lim's phases: the spectrum of what they give is near the one that was asked for."""
    window = torch.hann_window(400)
    generator = torch.Generator().manual_seed(0)
    wave = torch.nn.functional.avg_pool1d(torch.randn(1, 1, 8004, generator=generator), 5, 1)[0]
    asked = torch.stft(wave, 512, 160, 400, window, return_complex=True).abs()
    made = griffin_lim(asked.square().transpose(1, 2), window, 160)[:, 160:]
    found = torch.stft(made, 512, 160, 400, window, return_complex=True).abs()[..., : asked.shape[-1]]
    assert ((found - asked[..., : found.shape[-1]]).square().sum() / asked.square().sum()).sqrt() < 0.35


def test_wav_files_are_neither_clipped_nor_broken():
    loud = torch.tensor([0.0, 3.0, -1.5, math.nan, math.inf])
    wave, rate = _heard(wav_bytes(loud, 8000))
    assert rate == 8000
    assert np.allclose(wave, [0, 0.7, -0.35, 0, 0], atol=1e-3)
    assert len(_heard(wav_bytes(torch.zeros(0), 8000))[0]) == 0


def test_raw_keeps_the_order_of_time(batch):
    tokenizer = _tokenizer()
    raw = tokenizer.raw(tokenizer(batch))
    assert raw.shape == (4, 16 * 64) and raw.isfinite().all()
    features = (Fbank(num_bins=64)(batch["wave"]).values[1, :48] + 6) / 6
    assert torch.allclose(raw[1].view(16, 64), features.view(16, 3, 64).mean(1), atol=1e-5)


def test_it_can_be_traced_for_any_batch(batch):
    tokenizer = _tokenizer()

    class Values(torch.nn.Module):
        def forward(self, batch):
            tokens = tokenizer(batch)
            return tokens.values, tokens.valid

    shapes = ({name: {0: torch.export.Dim("batch")} for name in batch},)
    program = torch.export.export(Values(), (batch,), dynamic_shapes=shapes).module()
    few = {name: value[:2] for name, value in batch.items()}
    values, valid = program(few)
    assert torch.allclose(values, tokenizer(few).values, rtol=0, atol=1e-5)
    assert torch.equal(valid, tokenizer(few).valid)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"patch": (8, 10)}, r"divide 64, but is \[8, 10\]; nearest: \[8, 8\]"),
        ({"patch": (0, 8)}, r"but is \[0, 8\]"),
        ({"num_frames": 100}, "multiple of the 8 frames of a patch, but is 100; nearest: 96"),
        ({"num_frames": 4}, "nearest: 8"),
        ({"mean": [1.0, 2.0]}, "`mean` must be one number or 64, one per feature, but has 2"),
        ({"std": 0.0}, "`std` must be above 0, but is 0.0"),
    ],
)
def test_wrong_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        _tokenizer(**settings)


def test_wrong_stack():
    with pytest.raises(ValueError, match="`stack` must be at least 1, but is 0"):
        FrameTokenizer(stack=0)
