"""Runs as forks of one process that has imported everything and trained nothing, and what they end with.

What they are killed with, and the next one begins with, is as if each had been started by itself, and seconds of
importing are spent once.
"""

import os
import traceback
from pathlib import Path

import torch

from unmask.cli import fit, main  # noqa: F401  # what every run would import


def forked(*words: str) -> int:
    """The process of a command."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            code = main(list(words))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return process


def ended(process: int) -> int:
    """The exit code of a process, once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def check_same(whole: Path, killed: Path, num_steps: int) -> None:
    """Both runs must end after so many steps, with the same weights and moments, bit for bit."""
    expected, got = _final(whole, num_steps), _final(killed, num_steps)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(got[name])), (killed.name, name)


def _final(folder: Path, num_steps: int) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == num_steps
    state = dict(checkpoint["state_dict"])
    moments = checkpoint["optimizer_states"][0]["state"]
    return state | {f"{i}.{k}": v for i, slot in moments.items() for k, v in slot.items()}
