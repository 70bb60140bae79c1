"""Runs of five recipes, killed at 50 random moments and carried on each time, end with the same weights, bit for bit.

Validation comes in some epochs only, batches are limited, and the run folder lies on another file system than temporary
files where there is one: each was a way to end otherwise. A third of the kills come while a checkpoint is written, and
checkpoints come by epochs, by steps and by the clock.
Takes minutes: ``pytest -m slow -s tests/test_kills.py``, which prints how many kills there were, and how many while a
checkpoint was written. ``UNMASK_KILLS=40`` in the environment asks for another number of each recipe.
Runs are forks, see ``forks.py``.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from forks import check_same, ended, forked

KILLS = int(os.environ.get("UNMASK_KILLS", "10"))
"""Of each recipe."""
STEPS = 40
LIMITS = ["--trainer.limit_train_batches", "5", "--trainer.check_val_every_n_epoch", "3"]
LIMITS += ["--trainer.limit_val_batches", "2", "--trainer.max_steps", str(STEPS), "--trainer.log_every_n_steps", "3"]
RECIPES = {
    "vision/mae-digits": ["--data.batch_size", "16"],
    "audio/audio-mae-synth": ["--data.num_sounds", "120", "--data.batch_size", "8", "--data.val_batch_size", "8"],
    "text/mlm-pydoc": ["--data.tokens_per_batch", "256"],
    "graph/graphmae-imports": [],
    "pointcloud/point-mae-solids": ["--data.num_solids", "120", "--data.batch_size", "8", "--data.val_batch_size", "8"],
}
SAVING = ("1 epoch", "3 steps", "0.5 seconds")
"""How often the runs of a chain save, one after the other."""
MEMORY = Path("/dev/shm")
"""A file system of its own, on Linux."""


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system than ``tmp_path``, where there is one."""
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        yield tmp_path / "runs"
        return
    folder = Path(tempfile.mkdtemp(dir=MEMORY))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_killed_anywhere_ends_as_one_left_alone(recipe, elsewhere, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    words = [sys.executable, __file__, str(elsewhere), recipe]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    whole = elsewhere / "whole"
    print(done.stdout.strip().splitlines()[-1])
    chains = sorted(elsewhere.glob("killed-*"))
    assert chains
    for killed in chains:
        check_same(whole, killed, STEPS)
        assert (whole / "metrics.csv").read_text() == (killed / "metrics.csv").read_text()
        assert not list(killed.rglob("*.part"))
    assert not [path for path in temporary.rglob("*") if path.is_file() and path.stat().st_size > 100_000]


def run_and_kill(folder: Path, recipe: str) -> None:
    """A run that is left alone, and others until `KILLS` kills are done; each is brought to its end."""
    rng = random.Random(recipe)
    whole = started(folder / "whole", recipe)
    trains(folder / "whole", whole)
    begun = time.monotonic()
    assert ended(whole) == 0
    seconds = time.monotonic() - begun

    kills = chain = in_saves = 0
    while kills < KILLS:
        chain += 1
        killed = folder / f"killed-{chain}"
        while True:
            often = ["--checkpoint_every", SAVING[chain % len(SAVING)]]
            process = started(killed, recipe, *often, *(["--ckpt_path", "last"] if killed.exists() else []))
            if kills < KILLS and trains(killed, process):
                if kills % 3 == 2:
                    saves(killed, process, rng)
                else:
                    time.sleep(rng.uniform(0, 0.6 * seconds))
                os.kill(process, signal.SIGKILL)  # one that has ended stays to be waited for
            code = ended(process)
            if code == 0:
                break
            assert code == -signal.SIGKILL
            kills += 1
            in_saves += bool(list(killed.glob("checkpoints/*.part")))  # what was being written is still there
    print(f"{recipe}: {kills} kills, {in_saves} of them while a checkpoint was written, of {chain} runs")


def trains(folder: Path, process: int) -> bool:
    """Waits for the first step of a start: what is known then is written. False: the run has ended before."""
    begun = time.time()
    note = folder / "environment.json"
    while not note.is_file() or note.stat().st_mtime < begun:
        if is_over(process):
            return False
        time.sleep(0.002)
    return True


def saves(folder: Path, process: int, rng: random.Random) -> None:
    """Waits until a checkpoint is being written."""
    while not list(folder.glob("checkpoints/*.part")) and not is_over(process):
        time.sleep(0.0005)
    time.sleep(rng.uniform(0, 0.01))


def is_over(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def started(folder: Path, recipe: str, *more: str) -> int:
    """The process of a run."""
    return forked("fit", "--config", recipe, "--out", str(folder), *LIMITS, *RECIPES[recipe], *more)


if __name__ == "__main__":
    run_and_kill(Path(sys.argv[1]), sys.argv[2])
