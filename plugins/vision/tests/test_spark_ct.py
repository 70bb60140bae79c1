"""SparK on 16-bit slices: Hounsfield units as they are scaled, and fine-tuning at shares of the labels."""

import json

import numpy as np
import torch

from unmask.api import main
from unmask_vision.data import ArraysData


def slices(num=16, side=64):
    rng = np.random.default_rng(0)
    units = rng.integers(-1200, 1200, (num, side, side)).astype(np.int16)
    units[1::2, :32] += 800
    return units, np.arange(num) % 2


def test_units_become_values(tmp_path):
    units, _ = slices()
    np.save(tmp_path / "ct.npy", units)
    made = ArraysData(
        str(tmp_path / "ct.npy"),
        image_size=64,
        channels=1,
        scale="range",
        scale_range=(-1000, 1000),
        augment="none",
        batch_size=4,
    )
    made.setup("fit")
    sample = made.splits.train[0]
    number = int(sample["name"].split()[-1])
    expected = torch.from_numpy(((units[number] + 1000.0) / 2000).clip(0, 1)).float()
    torch.testing.assert_close(sample["image"][0], expected, rtol=0, atol=1e-6)


def test_the_recipe_and_a_sweep_of_labels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    units, labels = slices(40)
    np.savez("ct.npz", images=units, labels=labels)
    words = ["fit", "--config", "vision/spark-ct", "--data.images", "ct.npz", "--out", "run"]
    words += ["--model.backbone", "resnet18", "--model.decoder_width", "64", "--data.image_size", "64"]
    words += ["--data.batch_size", "4", "--data.val_ratio", "0.2"]
    assert main([*words, "--trainer.max_steps", "2", "--trainer.accelerator", "cpu"]) == 0
    tuned = ["finetune", "run", "--no_scratch", "--max_steps", "2", "--batch_size", "8", "--val_ratio", "0"]
    assert main([*tuned, "--label_fractions", "0.25,1"]) == 0
    shown = capsys.readouterr().out
    assert "0.25 of labels" in shown and "all labels" in shown
    trials = json.loads((tmp_path / "run" / "finetune.json").read_text())["trials"]
    assert [trial["labels_per_class"] for trial in trials] == [0.25, None]
    assert trials[0]["num_train"] < trials[1]["num_train"] / 3
    assert main([*tuned, "--label_fractions", "2"]) == 2
