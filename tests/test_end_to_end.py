"""The whole path through the command line, in a few steps: train, swap a part, look, probe, predict."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from unmask.cli import main

FEW = [
    "--trainer.max_steps", "4", "--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "1",
    "--trainer.check_val_every_n_epoch", "1", "--trainer.log_every_n_steps", "1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "recipe", ["mae-digits", *(pytest.param(f"{name}-digits", marks=pytest.mark.slow) for name in ("simmim", "ijepa"))]
)
def test_train_look_probe_predict(recipe, capsys):
    assert main(["fit", "--config", f"vision/{recipe}", *FEW]) == 0
    run = Path("runs/vision", recipe)
    assert (run / "metrics.csv").read_text().count("\n") >= 2
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    pictures = sorted((run / "pictures").glob("epoch-*.png"))
    assert pictures
    assert np.asarray(Image.open(pictures[-1])).std() > 10  # something is drawn

    assert main(["probe", str(run), "--num_draws", "2", "--labels_per_class", "5", "--max_labels", "200"]) == 0
    printed = capsys.readouterr().out
    for column in ("raw input", "untrained encoder", "pretrained encoder"):
        assert column in printed
    rows = json.loads((run / "probe.json").read_text())["rows"]
    assert {row["name"] for row in rows} >= {"kNN, all labels", "linear, 200 labels", "linear, 5 per class"}

    assert main(["predict", "--config", str(run / "config.yaml"), "--ckpt_path", "last", "--out", str(run)]) == 0
    assert np.load(run / "predictions.npy").shape == (500, 96)


@pytest.mark.slow  # where a processor has no bfloat16
def test_bfloat16_and_clipping():
    assert main(["fit", "--config", "vision/ijepa-digits", "--trainer.precision", "bf16-mixed",
                 "--trainer.gradient_clip_val", "1.0", *FEW]) == 0  # fmt: skip
    weights = torch.load("runs/vision/ijepa-digits/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(weight.isfinite().all() for weight in weights.values())
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_an_ema_teacher_refuses_rounded_weights(capsys):
    assert main(["fit", "--config", "vision/ijepa-digits", "--trainer.precision", "bf16-true", *FEW]) == 2
    assert "'bf16-mixed'" in capsys.readouterr().err


def test_two_processes_make_one_run():
    """Two devices, one run: one run folder, one checkpoint."""
    command = [
        sys.executable, "-m", "unmask", "fit", "--config", "vision/mae-digits", *FEW, "--data.batch_size", "32",
        "--trainer.devices", "2", "--trainer.strategy", "ddp", "--out", "two",
    ]  # fmt: skip
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert run.returncode == 0, run.stderr
    checkpoint = torch.load("two/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    assert all(weight.isfinite().all() for weight in checkpoint["state_dict"].values())


def test_contradictions_are_refused_in_two_lines(capsys):
    for option, value, told in (
        ("--model.image_size", "9", "`image_size` must be left out when `encoder` is given"),
        ("--model.size", "tiny", "`size` must be left out when `encoder` is given"),
        ("--model.target", "ema-teacher", "`target_width` of the predictor must be 96"),
        ("--model.predictor", "linear", "LinearPredictor needs a code at every place"),
        ("--model.mask", "tube", "TubeMask works on 3-D Grid layouts"),
        ("--model.encoder.options.embed_dimm", "3", "nearest: embed_dim"),
    ):
        assert main(["fit", "--config", "vision/mae-digits", *FEW, option, value]) == 2, option
        error = capsys.readouterr().err
        assert told in error, error
        assert len([line for line in error.splitlines() if line.strip()]) <= 2


def test_a_resumed_run_draws_the_same_samples():
    rare = ["--trainer.limit_train_batches", "2", "--trainer.check_val_every_n_epoch", "3"]
    assert main(["fit", "--config", "vision/mae-digits", *rare, "--out", "run", "--trainer.max_steps", "4"]) == 0
    more = ["--trainer.max_steps", "8", "--ckpt_path", "last"]
    assert main(["fit", "--config", "vision/mae-digits", *rare, "--out", "run", *more]) == 0
    sheets = [np.asarray(Image.open(f"run/pictures/epoch-{epoch:04d}.png")) for epoch in range(4)]
    width = sheets[0].shape[1] // 3
    for sheet in sheets:
        assert np.array_equal(sheet[:, :width], sheets[0][:, :width])  # the column of inputs


def test_a_mask_is_swapped_by_class_name():
    swap = ["--model.mask", "BlockMask", "--model.mask.ratio", "0.5"]
    assert main(["fit", "--config", "vision/mae-digits", *swap, *FEW]) == 0
    saved = yaml.safe_load(Path("runs/vision/mae-digits/config.yaml").read_text())
    assert saved["model"]["init_args"]["mask"]["class_path"].endswith("BlockMask")
    assert saved["model"]["init_args"]["mask"]["init_args"]["ratio"] == 0.5
    assert main(["fit", "--config", "runs/vision/mae-digits/config.yaml", *FEW]) == 0


def test_a_folder_of_all_sorts_trains(capsys):
    rng = np.random.default_rng(0)
    folder = Path("photos")
    folder.mkdir()
    for number in range(4):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(folder / f"rgb{number}.png")
    Image.fromarray(rng.integers(0, 255, (33, 50), dtype=np.uint8)).save(folder / "grey.jpg")
    Image.fromarray(rng.integers(0, 255, (20, 30, 4), dtype=np.uint8)).save(folder / "rgba.webp", lossless=True)
    Image.fromarray(rng.integers(0, 65535, (25, 25), dtype=np.uint16)).save(folder / "deep.png")
    Image.fromarray(rng.integers(0, 255, (1, 1, 3), dtype=np.uint8)).save(folder / "dot.png")
    Image.fromarray(rng.integers(0, 255, (1500, 4000, 3), dtype=np.uint8)).save(folder / "huge.jpg")
    (folder / "cut.png").write_bytes((folder / "rgb0.png").read_bytes()[:900])
    (folder / "no-image.png").write_text("not an image")
    (folder / "notes.txt").write_text("notes")
    command = [
        "fit", "--config", "vision/mae-folder", "--data.folder", "photos", "--data.image_size", "32",
        "--model.image_size", "32", "--model.patch_size", "8", "--model.size", "tiny", "--data.batch_size", "4",
        "--trainer.precision", "32-true", "--trainer.max_epochs", "2", "--trainer.max_steps", "4",
        "--trainer.accelerator", "cpu",
    ]  # fmt: skip
    assert main(command) == 0
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "cannot be used" in line]
    assert told.startswith("  2 cannot be used and are left out: cut.png (")
    assert "no-image.png" in told

    assert main([*command, "--data.on_unreadable", "stop"]) == 2
    assert "cut.png" in capsys.readouterr().err
    Path("empty").mkdir()
    assert main([*command, "--data.folder", "empty"]) == 2
    assert "must hold images" in capsys.readouterr().err
