"""Every command on Audio-MAE and sounds that are made on the spot; and what its recipes and measurements say."""

import json
import math
from pathlib import Path

import pytest
import soundfile
import torch

from unmask.api import main
from unmask.testing import RunContract
from unmask_audio.data.synth import SynthData
from unmask_audio.frontends import Fbank
from unmask_audio.stats import measure

SMALL = ("--data.num_sounds", "48", "--data.batch_size", "8")


class TestAudioMAE(RunContract):
    arguments = ["--config", "audio/audio-mae-synth", *SMALL]

    def test_reconstructions_can_be_heard(self, run_folder):
        assert main(["reconstruct", str(run_folder), "--num_samples", "2", "--out", "it/it.png"]) == 0
        names = {path.name for path in Path("it").iterdir()}
        expected = {f"it-{row}-{what}.wav" for row in (0, 1) for what in ("input", "seen", "prediction")}
        assert names == {"it.png", *expected}
        waves = {name: soundfile.read(Path("it") / name) for name in sorted(expected)}
        assert all(rate == 16000 and len(wave) == 96 * 160 for wave, rate in waves.values())
        power = {name: float((wave**2).mean()) for name, (wave, _) in waves.items()}
        assert all(power[f"it-{row}-seen.wav"] < power[f"it-{row}-input.wav"] for row in (0, 1))

    def test_data_of_another_rate_or_length_is_refused(self, run_folder, capsys):
        """Whatever is done with the trained model: longer windows would be cut off, other rates misread."""
        for settings, said in (
            ("seconds: 10.0", "`data.seconds` must be about 0.96"),
            ("sample_rate: 8000", "be 16000"),
        ):
            Path("other.yaml").write_text(f"data: {{class_path: audio.synth, init_args: {{{settings}}}}}")
            for command in ("embed", "probe", "reconstruct"):
                assert main([command, str(run_folder), "--data", "other.yaml"]) == 2
                assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_a_recipe_hides_can_be_seen(capsys):
    few = ("--num_samples", "2", "--out", "preview.png")
    assert main(["preview", "--config", "audio/audio-mae-synth", *SMALL, *few]) == 0
    assert Path("preview.png").stat().st_size > 10_000
    assert "96 tokens per sample" in capsys.readouterr().out


def test_the_files_recipe_reads_a_folder(capsys):
    Path("sounds").mkdir()
    generator = torch.Generator().manual_seed(0)
    for number in range(3):
        noise = 0.1 * torch.randn(16000 * (3 + number), generator=generator)
        soundfile.write(f"sounds/{number}.flac", noise.numpy(), 16000)
    few = ("--data.folder", "sounds", "--num_samples", "1", "--out", "preview.png")
    small = ("--model.size", "tiny")
    assert main(["preview", "--config", "audio/audio-mae-files", *small, *few]) == 0
    assert "tokens per sample" in capsys.readouterr().out


class TestStats:
    def test_moments_are_those_of_all_frames(self):
        """Against a mean and a deviation of everything at once."""
        data = SynthData(num_sounds=40)
        frontend = Fbank(num_bins=16)
        found = measure(frontend, data, max_samples=1000)
        frames = torch.cat([frontend(sample["wave"][None]).values[0] for sample in data.splits.train]).double()
        assert found.num_frames == len(frames) and found.num_samples == len(data.splits.train)
        assert math.isclose(found.overall["mean"], float(frames.mean()), abs_tol=1e-5)
        assert math.isclose(found.overall["std"], float(frames.std(correction=0)), abs_tol=1e-5)
        each = torch.tensor(found.per_feature["std"])
        assert torch.allclose(each, frames.std(0, correction=0).float(), atol=1e-5)

    def test_frames_beyond_a_clip_are_left_out_and_few_samples_are_spread(self, tmp_path):
        soundfile.write(tmp_path / "a.wav", 0.1 * torch.randn(16000).numpy(), 16000)
        soundfile.write(tmp_path / "b.wav", 0.1 * torch.randn(4000).numpy(), 16000)
        from unmask_audio.data.files import AudioFilesData

        data = AudioFilesData(str(tmp_path), str(tmp_path), seconds=1.0, batch_size=1)
        assert measure(Fbank(), data, 1000).num_frames == 98 + 23
        assert measure(Fbank(), data, 1).num_samples == 1

    def test_the_command(self, capsys):
        words = ["audio-stats", "--config", "audio/audio-mae-synth", *SMALL, "--max_samples", "10"]
        assert main([*words, "--out", "moments.json"]) == 0
        said = capsys.readouterr().out
        found = json.loads(Path("moments.json").read_text())
        assert f"mean: {found['mean']}\nstd: {found['std']}\n" in said
        assert -9 < found["mean"] < -2 and 2 < found["std"] < 6 and found["num_samples"] == 10
        assert main([*words, "--per_feature"]) == 0
        lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines() if line.startswith("mean"))
        assert len(json.loads(lines["mean"])) == 64
        # They may be set.
        moments = ("--model.tokenizer.mean", str(found["mean"]), "--model.tokenizer.std", str(found["std"]))
        out = ("--num_samples", "1", "--out", "a.png")
        assert main(["preview", "--config", "audio/audio-mae-synth", *SMALL, *moments, *out]) == 0

    def test_mistakes(self, capsys):
        for words, said in (
            ([], "needs a recipe or file: `--config NAME`"),
            (["--config", "audio/audio-mae-synth", "--out", "a.txt"], "`--out` must end in .json, but is `a.txt`"),
            (["--config", "audio/audio-mae-synth", "--max_samples", "0"], "`--max_samples` must be at least 1"),
            (["--config", "audio/hubert-mfcc-synth"], "is a "),
        ):
            assert main(["audio-stats", *words]) == 2
            assert said in capsys.readouterr().err.splitlines()[-1]
