"""Every command on HuBERT and wav2vec 2.0, by the contract; and HuBERT's iterations by one command."""

import json
from pathlib import Path

import pytest
import torch

from unmask.api import load_run, main
from unmask.testing import FEW_STEPS, RunContract
from unmask_audio.listening import wav_bytes

SMALL_DATA = (
    "--data.num_sounds", "48", "--data.seconds", "0.4", "--data.batch_size", "8", "--data.val_batch_size", "8",
)  # fmt: skip
SMALL = (*SMALL_DATA, "--model.num_clusters", "12", "--model.num_frames", "800")


class TestHuBERT(RunContract):
    arguments = ["--config", "audio/hubert-mfcc-synth", *SMALL]


class TestWav2Vec2(RunContract):
    arguments = ["--config", "audio/wav2vec2-synth", *SMALL_DATA]


@pytest.fixture
def second(tmp_path, monkeypatch):
    """The second iteration on a first one of two steps."""
    monkeypatch.chdir(tmp_path)
    Path("first.yaml").write_text(
        "model: {class_path: audio.hubert, init_args: {size: tiny, num_clusters: 12, num_frames: 800}}\n"
        "data: {class_path: audio.synth, init_args: {num_sounds: 48, seconds: 0.4, batch_size: 8}}\n"
        "trainer: {max_steps: 2, accelerator: cpu}\n"
    )
    return [
        "fit", "--config", "audio/hubert-synth", *SMALL, *FEW_STEPS, "--model.teacher_run", "runs/first",
        "--model.teacher_recipe", "first.yaml", "--model.codebook", "runs/codebook.safetensors",
    ]  # fmt: skip


@pytest.mark.slow
def test_one_command_trains_both_iterations_and_reuses_what_is_there(second, capfd):
    assert main([*second, "--out", "runs/second"]) == 0
    said = "First stage, on the same data: unmask fit --config first.yaml --config runs/first/first-stage.yaml --out"
    assert said in capfd.readouterr().out
    (session,) = json.loads(Path("runs/first/environment.json").read_text())
    assert (session["last_step"], session["ended"]) == (2, "finished")
    first, model = load_run("runs/first").model, load_run("runs/second").model
    assert model.target.fitted
    for name, tensor in first.encoder.state_dict().items():
        assert torch.equal(model.target.source.encoder.state_dict()[name], tensor), name

    # Neither the run nor the codebook is made again.
    files = [Path("runs/first/checkpoints/last.ckpt"), Path("runs/codebook.safetensors")]
    written = [file.stat().st_mtime_ns for file in files]
    assert main([*second, "--seed_everything", "5", "--out", "runs/third"]) == 0
    told = capfd.readouterr().out
    assert "First stage: runs/first, trained on the same data." in told
    assert "Clusters: those that lie in runs/codebook.safetensors, whatever data they were found in." in told
    assert "unmask fit" not in told
    assert [file.stat().st_mtime_ns for file in files] == written
    assert torch.equal(load_run("runs/third").model.target.centres, model.target.centres)

    # A codebook of other clusters is refused.
    assert main([*second, "--model.num_clusters", "13", "--out", "runs/other"]) == 2
    assert "`codebook` must hold [13] clusters of layer 2" in capfd.readouterr().err.splitlines()[-1]

    # A run that goes on has all it needs in its checkpoint.
    for file in ("runs/first", "runs/codebook.safetensors"):
        Path(file).rename(f"{file}-gone")
    alone = [*second, "--model.teacher_recipe", "null", "--model.teacher_run", "null", "--model.codebook", "null"]
    assert main([*alone, "--trainer.max_steps", "6", "--out", "runs/second", "--ckpt_path", "last"]) == 0
    again = load_run("runs/second")
    assert again.step == 6
    assert torch.equal(again.model.target.centres, model.target.centres)

    # Where there is neither, it is said in a line.
    assert main([*alone, "--out", "runs/none"]) == 2
    assert "`teacher_run` must be the folder of a finished run" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_the_first_iteration_learns_from_the_same_data(second, capfd):
    """In sounds of one's own; and its windows are cut as those of the second."""
    Path("sounds").mkdir()
    for number in range(10):
        Path(f"sounds/{number}.wav").write_bytes(wav_bytes(torch.randn(8000).clamp(-1, 1) / 4, 16_000))
    at = second.index("--data.num_sounds")
    rest = [*second[:at], *second[at + 2 : second.index("--model.codebook")]]
    own = [*rest, "--data", "audio.files", "--data.folder", "sounds"]
    whole = ["--model.tokenizer", "unmask_audio.speech.tokenizer.WaveTokenizer", "--model.tokenizer.normalize", "false"]
    assert main([*own, *whole, "--out", "runs/second"]) == 0
    first = load_run("runs/first")
    assert (first.datamodule.source.folder, first.datamodule.num_samples, first.datamodule.batch_size) == (
        "sounds",
        6400,
        8,
    )
    assert first.model.tokenizer.normalize is False
    capfd.readouterr()

    way_out = "; give another folder, delete it, or set `teacher_recipe` to null to take it as it is."
    for given, said in (
        ([*rest, *whole, "--data.num_sounds", "48"], "trained on AudioFilesData instead of SynthData" + way_out),
        ([*own, *whole, "--data.seconds", "0.5"], "trained on `seconds` 0.4 instead of 0.5" + way_out),
        (own, "has `normalize` False instead of True; give another folder, or delete it."),
    ):
        assert main([*given, "--out", "runs/third"]) == 2
        assert capfd.readouterr().err.splitlines()[-1].endswith(said), said


def test_clusters_are_the_same_in_every_run_of_a_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit = ["fit", "--config", "audio/hubert-mfcc-synth", *SMALL, *FEW_STEPS]
    for name, seed in (("one", "0"), ("two", "0"), ("other", "1")):
        assert main([*fit, "--seed_everything", seed, "--out", name]) == 0
    one, two, other = (load_run(name).model for name in ("one", "two", "other"))
    assert torch.equal(one.target.centres, two.target.centres)
    assert torch.equal(one.encoder.model.masked_spec_embed, two.encoder.model.masked_spec_embed)
    assert not torch.equal(one.target.centres, other.target.centres)


def test_pretraining_goes_on_from_a_folder_of_transformers(tmp_path, monkeypatch):
    """What was exported is an encoder for another run, with clusters of one of its layers."""
    monkeypatch.chdir(tmp_path)
    fit = ["fit", "--config", "audio/hubert-mfcc-synth", *SMALL, *FEW_STEPS]
    assert main([*fit, "--out", "one"]) == 0
    assert main(["export", "one", "--format", "audio.transformers", "--out", "exported"]) == 0
    Path("next.yaml").write_text(
        "model:\n  class_path: audio.hubert\n  init_args:\n    num_clusters: 12\n    num_frames: 800\n"
        "    teacher_layer: 3\n    teacher: {class_path: audio.speech, init_args: {path: exported}}\n"
        "    encoder: {class_path: audio.speech, init_args: {path: exported}}\n"
        "data: {class_path: audio.synth, init_args: {num_sounds: 48, seconds: 0.4, batch_size: 8}}\n"
        "trainer: {max_steps: 2, accelerator: cpu}\n"
    )
    assert main(["fit", "--config", "next.yaml", "--out", "two"]) == 0
    first, second = load_run("one").model, load_run("two").model
    for name, tensor in first.encoder.state_dict().items():
        assert torch.equal(second.target.source.encoder.state_dict()[name], tensor), name
