"""A run killed at any step and started again with `--ckpt_path last` ends with the same weights, bit for bit.

Runs are forks, see ``forks.py``.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forks import check_same, ended, forked

STEPS = 49
SAVE_EVERY = 7
STEPS_PER_EPOCH = 13


@pytest.mark.slow  # core/tests/test_resuming.py resumes in its own process
@pytest.mark.parametrize("recipe", ["mae-digits", "ijepa-digits"])
def test_killed_run_resumes_bit_for_bit(recipe, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__, tmp_path, recipe]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    check_same(tmp_path / "whole", tmp_path / "killed", STEPS)


def run_and_kill(folder: Path, recipe: str) -> None:
    """A run that is left alone, and one that is killed twice."""
    whole, killed = folder / "whole", folder / "killed"
    assert ended(started(whole, recipe)) == 0

    # Without warning, once checkpoints in the middle of an epoch are there.
    for enough in (1, 3):
        process = started(killed, recipe, *(["--ckpt_path", "last"] if enough > 1 else []))
        deadline = time.monotonic() + 240
        while len(list(killed.glob("checkpoints/step-*.ckpt"))) < enough:
            assert os.waitpid(process, os.WNOHANG) == (0, 0), "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process, signal.SIGKILL)
        assert ended(process) == -signal.SIGKILL

    assert ended(started(killed, recipe, "--ckpt_path", "last")) == 0


def started(folder: Path, recipe: str, *more: str) -> int:
    """The process of a run."""
    config = folder.parent / "resume.yaml"
    config.write_text(
        "trainer:\n"
        f"  max_steps: {STEPS}\n"
        "  callbacks:\n"
        "    - class_path: lightning.pytorch.callbacks.ModelCheckpoint\n"
        f"      init_args: {{dirpath: {folder}/checkpoints, every_n_train_steps: {SAVE_EVERY}, save_last: true, "
        "filename: 'step-{step}', save_top_k: -1}\n"
        "model:\n  init_args:\n    encoder:\n      init_args: {drop_path_ratio: 0.2}\n",
        encoding="utf-8",
    )
    return forked(
        "fit", "--config", f"vision/{recipe}", "--config", str(config), "--out", str(folder),
        "--trainer.limit_train_batches", str(STEPS_PER_EPOCH), "--seed_everything", "7", *more,
    )  # fmt: skip


if __name__ == "__main__":
    run_and_kill(Path(sys.argv[1]), sys.argv[2])
