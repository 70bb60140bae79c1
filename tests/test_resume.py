"""A run killed at any step and started again with `--ckpt_path last` ends with the same weights, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

STEPS = 63
SAVE_EVERY = 7


def command(folder: Path, recipe: str, *more: str) -> list[str]:
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
    return [
        sys.executable, "-m", "unmask", "fit", "--config", f"vision/{recipe}", "--config", str(config),
        "--out", str(folder), "--trainer.limit_train_batches", "13", "--seed_everything", "7", *more,
    ]  # fmt: skip


def final(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == STEPS
    state = dict(checkpoint["state_dict"])
    moments = checkpoint["optimizer_states"][0]["state"]
    return state | {f"{i}.{k}": v for i, slot in moments.items() for k, v in slot.items()}


@pytest.mark.parametrize("recipe", ["mae-digits", "ijepa-digits"])
def test_killed_run_resumes_bit_for_bit(recipe, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole, recipe), check=True, capture_output=True, env=environment, timeout=300)

    # Kill twice, without warning, once checkpoints in the middle of an epoch are there.
    for enough in (1, 4):
        more = ["--ckpt_path", "last"] if enough > 1 else []
        process = subprocess.Popen(
            command(killed, recipe, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        deadline = time.monotonic() + 240
        while len(list(killed.glob("checkpoints/step-*.ckpt"))) < enough:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()

    resumed = command(killed, recipe, "--ckpt_path", "last")
    run = subprocess.run(resumed, capture_output=True, text=True, env=environment, timeout=300)
    assert run.returncode == 0, run.stderr
    expected, got = final(whole), final(killed)
    assert expected.keys() == got.keys()
    for name, tensor in expected.items():
        assert torch.equal(torch.as_tensor(tensor), torch.as_tensor(got[name])), name
