"""Rates and lengths of data and model are compared before training: equal, refused in a line, or told."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from unmask import agreements
from unmask.api import RECIPES, build, components, find, load_run, main
from unmask_audio.agreements import SampleRate, WindowLength
from unmask_audio.data.files import AudioFilesData
from unmask_audio.data.synth import SynthData
from unmask_audio.frontends import MFCC, Fbank, LogMel
from unmask_audio.methods.a_jepa import AJEPA
from unmask_audio.methods.audio_mae import AudioMAE
from unmask_audio.methods.hubert import HuBERT
from unmask_audio.methods.tera import TERA
from unmask_audio.methods.wav2vec2 import Wav2Vec2
from unmask_audio.speech.tokenizer import WaveTokenizer
from unmask_audio.tokenizer import FrameTokenizer, SpectrogramTokenizer


def _files(**settings):
    return AudioFilesData("anywhere", **settings)


def _audio_mae(num_frames=96, patch=(16, 16), **frontend):
    tokenizer = SpectrogramTokenizer(Fbank(num_bins=64, **frontend), num_frames, patch)
    return AudioMAE(size="tiny", decoder="global", tokenizer=tokenizer)


@pytest.mark.parametrize(
    "name",
    [one.name for one in components() if one.group == RECIPES and one.name.startswith("audio/")],
)
def test_recipes_agree_without_a_word(name, tmp_path, capsys):
    recipe = find(name, RECIPES).path().read_text().replace("size: base", "size: tiny")
    if "audio.files" in recipe:
        recipe = recipe.replace("init_args: {sample_rate", f"init_args: {{folder: {tmp_path}, sample_rate")
    (tmp_path / "recipe.yaml").write_text(recipe)
    model, data = build(tmp_path / "recipe.yaml", 0)
    agreements.check(model, data, loaded=False)
    assert {"unmask_audio.agreements.SampleRate", "unmask_audio.agreements.WindowLength"} <= {
        path for path, _ in model.__dict__["_agreed"]
    }
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("model", "option"),
    [
        (lambda: _audio_mae(), "tokenizer.frontend"),
        (lambda: AudioMAE(size="tiny", tokenizer=SpectrogramTokenizer(LogMel(num_bins=64))), "tokenizer.frontend"),
        (lambda: AJEPA(size="tiny"), "tokenizer.frontend"),
        (lambda: TERA(size="tiny", tokenizer=FrameTokenizer(MFCC())), "tokenizer.frontend"),
        (lambda: HuBERT(size="tiny"), "tokenizer"),
        (lambda: Wav2Vec2(size="tiny"), "tokenizer"),
    ],
)
@pytest.mark.parametrize("data", [lambda rate: _files(sample_rate=rate), lambda rate: SynthData(sample_rate=rate)])
def test_rates_of_data_and_front_end_are_equal(model, option, data):
    made = model()
    assert SampleRate().check(made, data(16000)) is None
    for rate in (8000, 48000):
        said = rf"`data\.sample_rate` must be 16000, the `model\.{option}\.sample_rate`, but is {rate}"
        with pytest.raises(ValueError, match=said):
            SampleRate().check(made, data(rate))


def test_another_rate_may_be_that_of_both():
    assert SampleRate().check(_audio_mae(sample_rate=48000), _files(sample_rate=48000)) is None
    hubert = HuBERT(size="tiny", tokenizer=WaveTokenizer(sample_rate=8000))
    assert SampleRate().check(hubert, _files(sample_rate=8000)) is None
    assert WindowLength().check(hubert, _files(sample_rate=8000)) is None  # as many frames as there are
    with pytest.raises(ValueError, match=r"must be 8000, the `model\.tokenizer\.sample_rate`, but is 16000"):
        SampleRate().check(hubert, _files())


@pytest.mark.parametrize(
    ("seconds", "num_frames", "patch"),
    [
        (1.0, 96, (16, 16)),  # 98 frames
        (1.0, 104, (8, 16)),
        (10.0, 1024, (16, 16)),  # 998, as AudioSet's
        (10.24, 1024, (16, 16)),
        (0.2, 16, (16, 16)),  # 18: no further patch
        (0.2, 32, (16, 16)),
        (1.0, 112, (16, 16)),
        (7.0, None, (16, 16)),
    ],
)
def test_windows_that_the_grid_holds_but_for_a_patch_are_not_mentioned(seconds, num_frames, patch):
    assert WindowLength().check(_audio_mae(num_frames, patch), _files(seconds=seconds)) is None


@pytest.mark.parametrize(
    ("seconds", "num_frames", "said"),
    [
        (2.0, 1024, r"must be about 10\.24, .* is 1024, but is 2: 81% of the tokens would be empty\. .* to 192\."),
        (1.0, 128, r"must be about 1\.28, .* but is 1: 23% of the tokens would be empty"),
        (
            10.0,
            96,
            r"must be about 0\.96, .*is 96, but is 10: the last 90% of every window would be cut off.* 992\.",
        ),
        (1.2, 96, r".*: the last 19% of every window would be cut off"),
    ],
)
def test_windows_of_another_length_are_refused(seconds, num_frames, said):
    with pytest.raises(ValueError, match=rf"^`data\.seconds` {said}"):
        WindowLength().check(_audio_mae(num_frames), _files(seconds=seconds))


def test_more_than_a_patch_that_is_cut_off_is_told():
    told = WindowLength().check(_audio_mae(960), _files(seconds=10.0))
    assert told == (
        "`data.seconds` is 10, 998 frames, of which `model.tokenizer.num_frames` keeps 960: the last 4% of every "
        "window is cut off."
    )
    tera = TERA(size="tiny", tokenizer=FrameTokenizer(num_frames=90))
    assert "the last 8% of every window is cut off" in WindowLength().check(tera, _files(seconds=1.0))
    with pytest.raises(ValueError, match="the last 18% of every window would be cut off"):
        WindowLength().check(TERA(size="tiny", tokenizer=FrameTokenizer(num_frames=80)), _files(seconds=1.0))


@pytest.mark.parametrize("command", ["fit", "audio-stats"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--data.sample_rate", "8000", "--model.tokenizer.frontend.sample_rate", "16000"),
            "`data.sample_rate` must be 16000",
        ),
        (("--data.seconds", "2"), "`data.seconds` must be about 0.96"),
    ],
)
def test_commands_refuse_in_a_line(command, words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([command, "--config", "audio/audio-mae-synth", "--data.num_sounds", "48", *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert error[0].startswith(said)


def _frontend(model="", **data):
    """The front end that a config gives, and what was told."""
    config = {
        "model": yaml.safe_load(f"{{class_path: audio.audio-mae, init_args: {{size: tiny, {model}}}}}"),
        "data": {"class_path": "audio.files", "init_args": {"folder": ".", **data}},
    }
    Path("config.yaml").write_text(json.dumps(config))
    made, datamodule = build(Path("config.yaml"), 0)
    agreements.check(made, datamodule, loaded=False)
    return made.tokenizer.frontend


TOKENIZER = "tokenizer: {{class_path: unmask_audio.tokenizer.SpectrogramTokenizer, init_args: {{{}}}}}"
LOG_MEL = "num_frames: null, frontend: {class_path: unmask_audio.frontends.LogMel, init_args: {num_bins: 64}}"


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000, 192000])
@pytest.mark.parametrize(("options", "kind"), [("num_frames: null", Fbank), (LOG_MEL, LogMel)])
def test_a_front_end_without_a_rate_gets_that_of_the_data(options, kind, rate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = _frontend(TOKENIZER.format(options), sample_rate=rate, seconds=0.5)
    assert (type(found), found.sample_rate, found.hop) == (kind, rate, rate // 100)


def test_a_rate_that_is_given_stays_and_a_tokenizer_that_is_not_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = LOG_MEL.replace("num_bins: 64", "sample_rate: 16000")
    for options in (TOKENIZER.format(given), ""):
        with pytest.raises(ValueError, match=r"`data\.sample_rate` must be 16000, .*, or give the front end that rate"):
            _frontend(options, sample_rate=48000, seconds=0.5)


def test_the_rate_is_told_and_written_into_the_config(tmp_path, monkeypatch, capsys):
    """So every later command builds the same front end, whatever data it is given."""
    monkeypatch.chdir(tmp_path)
    words = [
        "--config", "audio/audio-mae-synth", "--data.num_sounds", "36", "--data.sample_rate", "8000",
        "--data.batch_size", "8", "--trainer.max_steps", "1", "--trainer.limit_val_batches", "1", "--out", "run",
    ]  # fmt: skip
    assert main(["fit", *words]) == 0
    assert "`model.tokenizer.frontend.sample_rate` is 8000, that of `data.sample_rate`." in capsys.readouterr().out
    assert load_run("run").model.tokenizer.frontend.sample_rate == 8000
    Path("other.yaml").write_text("data: {class_path: audio.synth, init_args: {num_sounds: 36}}\n")
    assert main(["probe", "run", "--data", "other.yaml"]) == 2
    assert "`data.sample_rate` must be 8000, the" in capsys.readouterr().err


def test_the_recipe_for_own_files_follows_the_length_of_windows(tmp_path):
    recipe = find("audio/audio-mae-files", RECIPES).path().read_text().replace("size: base", "size: tiny")
    for seconds, rows in ((2, 13), (10, 63), (0.3, 2)):
        text = recipe.replace("seconds: 10.0", f"seconds: {seconds}, folder: {tmp_path}")
        (tmp_path / "recipe.yaml").write_text(text)
        model, data = build(tmp_path / "recipe.yaml", 0)
        agreements.check(model, data, loaded=False)
        assert model.tokenizer({"wave": torch.zeros(1, data.num_samples)}).layout.shape == (rows, 8)


@pytest.mark.parametrize("method", [AudioMAE, AJEPA])
def test_patches_are_the_tokenizers(method):
    tokenizer = SpectrogramTokenizer(Fbank(num_bins=64), 96, (8, 8))
    assert method(size="tiny", tokenizer=tokenizer).encoder.embed.in_features == 64
    assert method(size="tiny", patch=(8, 8), tokenizer=tokenizer).encoder.embed.in_features == 64
    assert method(size="tiny", patch=(8, 8)).tokenizer.patch == (8, 8)
    with pytest.raises(ValueError, match=r"^`patch` must be that of `tokenizer`, \[8, 8\], but is \[4, 16\]\.$"):
        method(size="tiny", patch=(4, 16), tokenizer=tokenizer)


def test_features_of_tera_are_the_tokenizers():
    tokenizer = FrameTokenizer(LogMel(num_bins=40), stack=3)
    model = TERA(size="tiny", tokenizer=tokenizer)
    assert model.encoder.embed.in_features == 120
    assert model.corruption.num_features == 40  # a band is of a frame's features, in all frames of a token
    assert TERA(size="tiny").encoder.embed.in_features == 80
    with pytest.raises(ValueError, match=r"^`num_features` must be that of `tokenizer`, 120 a token, but is 40"):
        TERA(size="tiny", num_features=40, tokenizer=tokenizer)
