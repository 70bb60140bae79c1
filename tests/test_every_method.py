"""Every method on images that is registered: a run that goes on from a checkpoint ends as one never stopped, bit for
bit; and two processes train as one does at the same global batch."""

import csv
import json
import math
import os
import subprocess
import sys

import pytest
import torch
from forks import check_same
from method_recipes import methods
from record_steps import runs_of

STEPS, SAVED_AT, GLOBAL = 6, 3, 8
CONFIG = """
trainer:
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {dirpath: whole/checkpoints, every_n_train_steps: 3, save_last: true, filename: 'at-{step}', save_top_k: -1}
"""  # noqa: E501
COMMON = [
    "--trainer.log_every_n_steps", "1", "--trainer.limit_val_batches", "0", "--trainer.precision", "32-true",
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--model.optim.scale_lr", "false",
    "--trainer.limit_train_batches", "4",
]  # fmt: skip
WHOLE = [*COMMON, "--data.batch_size", str(GLOBAL), "--trainer.max_steps", str(STEPS)]
HALVES = [*WHOLE, "--data.batch_size", str(GLOBAL // 2)]
OTHERWISE = {
    "vision.a2mim": "spectra are averaged, and weighed, over a batch",
    "vision.dmt-jepa": "masks are cut to the smallest of a batch",
    "vision.dtm": "groups of patches that are nearly as alike follow from the order of sums",
    "vision.gmml": "stand-ins are of the next image of a batch",
    "vision.ijepa": "masks are cut to the smallest of a batch",
    "vision.mfm": "the mean is over the hidden frequencies of a batch",
    "vision.mixed-ae": "images of a batch are mixed",
    "vision.nerf-mae": "voxels that are filled are counted over a batch",
    "vision.noise-masks": "rewards are compared within a batch",
    "vision.seit-plus-plus": "images hide other shares, and the mean is over all of a batch",
    "vision.token-unify": "prefixes have other lengths, and the mean is over all blocks of a batch",
    "vision.urfound": "reports hide other numbers of words, and the mean is over all of a batch",
}
"""Methods whose loss is another on two processes, and why."""
SHARED_OUT = ["vision.dbot", "vision.masked-denoising"]
"""Methods that are run on two processes that share weights as well: a teacher that is replaced, blocks of one's own."""


@pytest.fixture(scope="module", params=methods("vision."))
def ran(request, tmp_path_factory):
    """A method, and a folder with the runs ``whole``, ``again`` (from its middle) and ``two``."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "saving.yaml").write_text(CONFIG)
    *first, own = runs_of(request.param)
    commands = [[1, ["fit", "--config", *words, *COMMON]] for words in first]
    fit = ["fit", "--config", own[0], "--config"]
    commands.append([1, [*fit, "saving.yaml", *own[1:], *WHOLE, "--out", "whole"]])
    middle = f"whole/checkpoints/at-step={SAVED_AT}.ckpt"
    commands.append([1, [*fit[:-1], *own[1:], *WHOLE, "--out", "again", "--ckpt_path", middle]])
    commands.append([2, [*fit[:-1], *own[1:], *HALVES, "--trainer.strategy", "ddp", "--out", "two"]])
    if request.param in SHARED_OUT:
        commands.append([2, [*fit[:-1], *own[1:], *HALVES, "--trainer.strategy", "fsdp2", "--out", "shared-out"]])
    done = subprocess.run(
        [sys.executable, "-m", "unmask.testing.ranks", json.dumps(commands)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return request.param, folder


def losses(run):
    with (run / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]


@pytest.mark.slow
def test_it_goes_on_as_if_never_stopped(ran):
    _, folder = ran
    assert len(losses(folder / "again")) < STEPS
    check_same(folder / "whole", folder / "again", STEPS)


@pytest.mark.slow
def test_two_processes_train_as_one(ran):
    method, folder = ran
    alone, two = losses(folder / "whole"), losses(folder / "two")
    assert len(two) == STEPS and all(map(math.isfinite, two))
    if method not in OTHERWISE:
        torch.testing.assert_close(torch.tensor(two), torch.tensor(alone), rtol=1e-5, atol=0)
    if method in SHARED_OUT:
        assert losses(folder / "shared-out") == pytest.approx(alone, rel=1e-5)
