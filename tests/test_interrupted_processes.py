"""Runs of two processes that are asked to end, or whose disk is full: all processes end, and the run can go on."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forks import check_same

STEPS = 24
FIT = [
    sys.executable, "-m", "unmask", "fit", "--config", "vision/mae-digits", "--data.batch_size", "8",
    "--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu", "--ckpt_path", "last",
    "--trainer.max_steps", str(STEPS), "--trainer.limit_train_batches", "8", "--trainer.limit_val_batches", "4",
    "--trainer.check_val_every_n_epoch", "1", "--checkpoint_every", "3 steps", "--trainer.log_every_n_steps", "3",
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def begun(folder: Path, **options) -> subprocess.Popen:
    return subprocess.Popen([*FIT, "--out", str(folder)], stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.slow
def test_sigterm_stops_both_processes_after_one_step_and_the_run_goes_on(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    process = begun(whole)
    told = process.communicate(timeout=300)[1]
    assert process.returncode == 0, told
    rng, codes = random.Random(0), []
    for moment in ("step", "save", "step", "save"):
        started = time.time()
        process = begun(stopped)
        note = stopped / "environment.json"
        while process.poll() is None and not (note.is_file() and note.stat().st_mtime > started):
            time.sleep(0.005)
        while moment == "save" and process.poll() is None and not list(stopped.glob("checkpoints/*.part")):
            time.sleep(0.0005)
        if moment == "step":
            time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=120)[1]
        codes.append(process.returncode)
        assert process.returncode in (0, 143), told
        assert (process.returncode == 0) or "SIGTERM" in told
    assert 143 in codes
    process = begun(stopped)
    told = process.communicate(timeout=300)[1]
    assert process.returncode == 0, told
    check_same(whole, stopped, STEPS)
    assert (whole / "metrics.csv").read_text() == (stopped / "metrics.csv").read_text()


@pytest.mark.slow
def test_a_full_disk_ends_both_processes_in_one_line(tmp_path):
    def little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))  # less than a checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    begin = time.monotonic()
    process = begun(tmp_path / "run", preexec_fn=little)
    told = process.communicate(timeout=200)[1]
    assert process.returncode == 1, told
    assert "File too large" in told.splitlines()[-1], told
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))
    assert time.monotonic() - begin < 180
    assert not _alive(str(tmp_path / "run"))


def _alive(word: str) -> list[str]:
    """Processes whose command line has this word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if word in line and int(path.parent.name) != os.getpid():
            found.append(line)
    return found
