"""The first of two stages: trained by its recipe when its run is not finished, and read back when it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from torch import Tensor

from unmask.evaluate.trained import read_checkpoint
from unmask.run_folders import is_finished, newest_checkpoint


def ensure(folder: Path, recipe: str) -> None:
    """Trains ``recipe`` into ``folder``, or carries on what lies there, unless it is finished.

    It runs as a command of its own, so neither random numbers nor loggers of two runs meet.

    Raises:
        ValueError: training it failed.
    """
    if is_finished(folder):
        return
    command = ["fit", "--config", recipe, "--out", str(folder)]
    if newest_checkpoint(folder) is not None:
        command += ["--ckpt_path", "last"]
    print(f"First stage: unmask {' '.join(command)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "unmask", *command], check=False)
    if done.returncode or not is_finished(folder):
        raise ValueError(f"The first stage must be trained, but `unmask {' '.join(command)}` did not finish.")


def encoder_weights(folder: Path) -> tuple[dict[str, Tensor], Path]:
    """Weights of the encoder of the finished run in ``folder``, by name, and the file that they were read from.

    Raises:
        UserError: the file is none of ``unmask fit``, or damaged.
    """
    file = newest_checkpoint(folder)
    assert file is not None
    state = read_checkpoint(file)["state_dict"]
    return {name.removeprefix("encoder."): x for name, x in state.items() if name.startswith("encoder.")}, file
