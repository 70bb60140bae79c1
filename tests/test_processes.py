"""One run on one process, two, four, or with accumulated gradients: the same losses at the same global batch.

Exact for batches whose samples ask for as many answers each; otherwise each process averages over what it asks for.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCALE = Path(__file__).parent.parent / "benchmarks" / "scale"
sys.path.insert(0, str(SCALE))
import processes as runs  # noqa: E402

ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", runs.RUNS)
def test_losses_do_not_depend_on_the_number_of_processes_nor_on_sharding(recipe):
    """By the script that writes the table of docs/scale.md, on 1, 2 and 4 processes."""
    command = [sys.executable, str(SCALE / "processes.py"), "--only", recipe]
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    cells = done.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert len(cells) == 7 and max(map(float, cells[3:])) <= runs.ALLOWED


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in runs.RUNS if name not in ("multimodal", "graph", "pointcloud")])
def test_accumulated_batches_are_one_batch(recipe, tmp_path):
    """Not for a contrast and BatchNorm, which see half a batch at a time.

    A step logs the loss of its last part alone, so it is seen in what comes after the last step.
    """
    runs.prepare(tmp_path)
    parts = ["--trainer.accumulate_grad_batches", "2", "--data.batch_size", str(runs.GLOBAL // 2)]
    whole = runs.command("whole", [*runs.RUNS[recipe], *runs.spread("", 1)])
    halves = runs.command("halves", [*runs.RUNS[recipe], *parts], check_every=2 * runs.STEPS)
    words = [sys.executable, "-m", "unmask.testing.ranks", json.dumps([[1, whole], [1, halves]])]
    done = subprocess.run(words, cwd=tmp_path, env=ONE_THREAD, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = (runs.logged(tmp_path / name)["val/loss"] for name in ("whole", "halves"))
    assert len(one) > 0
    torch.testing.assert_close(two, one, rtol=1e-5, atol=0)
