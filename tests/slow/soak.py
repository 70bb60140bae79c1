"""Runs of five modalities in turn, in one process, for as long as is asked: does anything grow?

    python tests/slow/soak.py                  three minutes
    python tests/slow/soak.py --minutes 120

Each round carries every run on for some epochs, loads data in a process of its own, and calls one further command per
run. After it, memory, handles, threads, child processes and what lies in the run folders are counted. What is bounded
must not grow from round to round. Exit code 1, with what grew, where something does. It reads Linux's ``/proc``.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import io
import itertools
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from unmask.callbacks.pictures import MOST
from unmask.cli import main

EPOCHS = 10
"""That a round carries each run on for, of `BATCHES` each: thousands in two hours."""
BATCHES = 2
SESSIONS = 25
"""Rounds that go to one run folder before a new one begins: each start of a run leaves a file of TensorBoard's."""
FEWEST = 6
"""Rounds, however long they take: fewer tell nothing."""
WARM = 0.34
"""Share of the rounds that caches may fill in."""
MB_PER_ROUND = 0.25
"""Growth of memory that is no leak: a round is five runs and five commands."""
SCATTERS = 3.0
"""Growth over all rounds that is told from chance: that many times what single rounds lie beside the slope."""
CSV_BYTES, TENSORBOARD_MB = 200, 60
"""What ``metrics.csv`` of a run may grow by in a step, and what TensorBoard's files of a run may come to: a picture is
360 kB there, one of every epoch would be beyond."""
LIMITS = [
    "--trainer.limit_train_batches", str(BATCHES), "--trainer.limit_val_batches", "1", "--trainer.max_steps", "-1",
    "--trainer.check_val_every_n_epoch", "3", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu",
    "--trainer.precision", "32-true",
]  # fmt: skip
RUNS = {
    "vision": ["vision/mae-digits", "--data.batch_size", "8", "--data.num_workers", "1"],
    "audio": ["audio/audio-mae-synth", "--data.num_sounds", "60", "--data.batch_size", "4", "--data.num_workers", "1"],
    "text": ["text/mlm-pydoc", "--data.tokens_per_batch", "256"],
    "graph": ["graph/graphmae-imports"],
    "pointcloud": ["pointcloud/point-mae-solids", "--data.num_solids", "60", "--data.batch_size", "4"],
}
COMMANDS = (["reconstruct", "--num_samples", "2"], ["report"], ["embed", "--split", "val", "--overwrite"])
"""One of them after each run, in turn."""


def soak(folder: Path, minutes: float, modalities: list[str], say: Any) -> list[dict[str, float]]:
    """Rounds until the time is over; what was counted after each."""
    begun, counts = time.monotonic(), []
    for number in itertools.count():
        runs = [folder / f"{name}-{number // SESSIONS}" for name in modalities]
        if number % SESSIONS == 0:
            for old in folder.glob("*-*"):
                shutil.rmtree(old)
        epochs = EPOCHS * (number % SESSIONS + 1)
        for name, run in zip(modalities, runs, strict=True):
            more = ["--trainer.max_epochs", str(epochs), "--ckpt_path", "last"]
            called("fit", "--config", *RUNS[name], *LIMITS, *more, "--out", str(run))
            command, *options = COMMANDS[number % len(COMMANDS)]
            called(command, str(run), *options)
        counts.append({"minutes": round((time.monotonic() - begun) / 60, 2), **counted(runs, epochs)})
        say(json.dumps({"round": number + 1, **counts[-1]}))
        if counts[-1]["minutes"] >= minutes and number + 1 >= FEWEST:
            return counts
    raise AssertionError


def called(*words: str) -> None:
    """A command, whose output is shown only where it fails."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(list(words))
    if code:
        raise SystemExit(f"unmask {' '.join(words)}: exit code {code}\n{out.getvalue()}")


def counted(runs: list[Path], epochs: int) -> dict[str, float]:
    """What may grow, of this process and of the folders of runs, the largest of them."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc gives back what is free, which is no leak
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    files = [[path for path in run.rglob("*") if path.is_file()] for run in runs]
    tables = [sum(path.stat().st_size for path in each if path.name == "metrics.csv") for each in files]
    events = [sum(path.stat().st_size for path in each if "tfevents" in path.name) for each in files]
    return {
        "megabytes": round(_held() / 1e6, 1),
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "children": len(multiprocessing.active_children()) + _zombies(),
        "objects": len(gc.get_objects()),
        "epochs": epochs,
        "pictures": max(sum(path.parent.name == "pictures" for path in each) for each in files),
        "csv_bytes_per_step": round(max(tables) / epochs / BATCHES, 1),
        "tensorboard_megabytes": round(max(events) / 1e6, 1),
        "files": max(map(len, files)),
    }


def grown(counts: list[dict[str, float]]) -> list[str]:
    """What grew, in sentences."""
    counts, told = counts[max(int(len(counts) * WARM), 1) :], []
    memory = [one["megabytes"] for one in counts]
    slope = slope_of(memory)
    beside = [value - slope * i for i, value in enumerate(memory)]
    scatter = 1.48 * statistics.median(abs(one - statistics.median(beside)) for one in beside)
    if slope > MB_PER_ROUND and slope * len(memory) > SCATTERS * scatter:
        told.append(f"memory, by {slope:.2f} MB a round")
    for what in ("handles", "threads", "children"):
        half = len(counts) // 2
        if min(one[what] for one in counts[half:]) > max(one[what] for one in counts[:half]):
            told.append(f"{what}, from {counts[0][what]:.0f} to {counts[-1][what]:.0f}")
    if (most := max(one["pictures"] for one in counts)) > MOST + 1:  # `latest` is one
        told.append(f"pictures, to {most:.0f}")
    if (most := max(one["csv_bytes_per_step"] for one in counts)) > CSV_BYTES:
        told.append(f"metrics.csv, by {most:.0f} bytes a step")
    if (most := max(one["tensorboard_megabytes"] for one in counts)) > TENSORBOARD_MB:
        told.append(f"TensorBoard's files, to {most:.0f} MB")
    return told


def slope_of(values: list[float]) -> float:
    """The median of the slopes between all pairs (Theil and Sen): single outliers do not move it."""
    pairs = itertools.combinations(enumerate(values), 2)
    return statistics.median((y - x) / (j - i) for (i, x), (j, y) in pairs)


def _held() -> int:
    """Bytes of memory of this process's own: pages of files come and go with what others need."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def _zombies() -> int:
    """Children that nobody has waited for."""
    found = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            found += state == "Z" and int(parent) == os.getpid()
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long; default: 3")
    parser.add_argument("--modalities", nargs="+", default=list(RUNS), choices=list(RUNS), help="default: all")
    given = parser.parse_args()
    out = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        found = soak(out, given.minutes, given.modalities, lambda line: print(line, flush=True))
    finally:
        shutil.rmtree(out)
    told = grown(found)
    late = found[max(int(len(found) * WARM), 1) :]
    print(
        f"{len(found)} rounds in {found[-1]['minutes']:.0f} minutes: memory {late[0]['megabytes']:.0f} to "
        f"{late[-1]['megabytes']:.0f} MB, {slope_of([one['megabytes'] for one in late]):+.3f} MB a round; "
        f"handles {late[-1]['handles']}, threads {late[-1]['threads']}, children {late[-1]['children']}, at most "
        f"{max(one['pictures'] for one in found)} pictures a run, "
        f"metrics.csv {max(one['csv_bytes_per_step'] for one in found):.0f} bytes a step, TensorBoard "
        f"{max(one['tensorboard_megabytes'] for one in found):.0f} MB."
    )
    print(f"Grew: {'; '.join(told)}." if told else "Nothing grew.")
    sys.exit(bool(told))
