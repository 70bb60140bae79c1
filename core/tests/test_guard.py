"""A loss, a gradient or a weight that is not finite ends the run, and the last finite checkpoint stays."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from unmask.cli import main
from unmask.training.guard import _size

FIT = ["fit", "--config", "toy.yaml", "--out", "run", "--trainer.max_steps", "12"]


def last(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def test_one_sample_with_nan_ends_the_run_and_is_named(toys, spoil, capsys):
    spoil(bad=11, epoch=1)
    assert main(FIT) == 1
    told = capsys.readouterr().err
    assert "not finite" in told and "sample 11 of the training data" in told, told
    assert "Traceback" not in told and len(told.strip().splitlines()) <= 2
    saved = last(toys / "run")
    assert saved["epoch"] == 0  # the checkpoint of the epoch before
    assert all(x.isfinite().all() for x in saved["state_dict"].values() if x.is_floating_point())
    with (toys / "run" / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
    assert all(loss == loss for loss in losses)


def test_a_diverging_run_names_its_batch(toys, capsys):
    assert main([*FIT, "--model.optim.base_lr", "1e30"]) == 1
    told = capsys.readouterr().err
    assert "Its batch: samples " in told and "learning rate" in told


def test_weights_that_are_not_finite_are_not_saved(toys, monkeypatch, capsys):
    """Where neither a loss nor a gradient tells of them."""

    def spoil_at_end(self):
        with torch.no_grad():
            self.predictor.register_buffer("odd", torch.tensor(float("nan")))

    monkeypatch.setattr("toy_modality.Toy.on_train_epoch_end", spoil_at_end)
    assert main(FIT) == 1
    assert "`predictor.odd` holds values that are not finite" in capsys.readouterr().err
    assert not (toys / "run" / "checkpoints" / "last.ckpt").exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_are_told_apart_by_one_number(dtype):
    gradients = [torch.full((70, 90), 900.0, dtype=dtype), torch.ones(3, dtype=dtype)]  # a norm beyond fp16
    assert _size(gradients).isfinite()
    for odd in (float("nan"), float("inf")):
        gradients[1][1] = odd
        assert not _size(gradients).isfinite()
