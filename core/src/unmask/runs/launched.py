"""Processes that others start: torchrun, or SLURM's srun. How many there are is theirs to say."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

from unmask.support.errors import UserError

OF_LAUNCHERS = ("TORCHELASTIC_", "SLURM_")
"""How names of environment variables begin that say which of several processes one is."""
OF_PROCESSES = (
    *("RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME"),
)
"""Others of that kind."""


def launched() -> tuple[int, int] | None:
    """Processes of each node, and nodes, where others have started this one; None: nobody has.

    Raises:
        UserError: SLURM was given the number of all tasks, but not of those of a node.
    """
    given = os.environ
    if TorchElasticEnvironment.detect():
        each = int(given["LOCAL_WORLD_SIZE"])
        return each, int(given["WORLD_SIZE"]) // each
    if "SLURM_STEP_ID" in given and int(given.get("SLURM_NTASKS", "1")) > 1 and _by_srun():
        if "SLURM_NTASKS_PER_NODE" not in given:
            raise UserError(
                f"SLURM must be told `--ntasks-per-node`, but was given `--ntasks={given['SLURM_NTASKS']}` alone."
            )
        return int(given["SLURM_NTASKS_PER_NODE"]), int(given.get("SLURM_NNODES", "1"))
    return None


def on_all(devices: Any, num_nodes: int) -> dict[str, Any]:
    """Options of a trainer that takes part in all processes that were started.

    Without them Lightning would take one device, and each process would train a run of its own.

    Args:
        devices: as configured; ``auto`` becomes the number of processes on a node.
        num_nodes: as configured; 1 becomes the number of nodes.

    Raises:
        UserError: other numbers than were started.
    """
    found = launched()
    if found is None:
        return {}
    each, nodes = found
    count = len(devices) if isinstance(devices, list | tuple) else each if devices in ("auto", -1, "-1") else devices
    if str(count) != str(each):
        raise UserError(
            f"`--trainer.devices` must be the number of processes that were started on a node, {each}, or be left out, "
            f"but is {devices}."
        )
    if num_nodes not in (1, nodes):
        raise UserError(
            f"`--trainer.num_nodes` must be the number of nodes that processes were started on, {nodes}, or be left "
            f"out, but is {num_nodes}."
        )
    return {"devices": devices if isinstance(devices, list | tuple) else each, "num_nodes": nodes}


def alone() -> dict[str, str]:
    """The environment for a command that is no part of this run, whoever started its processes."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(OF_LAUNCHERS) and name not in OF_PROCESSES
    }


class SameOnAll(L.Callback):
    """Lets all processes of a run write to the folder of the first, and refuses those of another precision.

    Each that others have started decides for itself what ``auto`` is and which run folder is free, and by the time that
    it looks, the first may have taken it.

    Args:
        folder: the run folder, as this process sees it.
        adopt: called with that of the first where it is another.

    Raises:
        UserError: precisions differ.
    """

    def __init__(self, folder: Path, adopt: Callable[[Path], None]) -> None:
        self.folder, self.adopt = folder, adopt

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            return
        everybody: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everybody, (str(trainer.precision), str(self.folder)))
        if len(found := sorted({precision for precision, _ in everybody})) > 1:
            raise UserError(
                f"All processes of a run must have one precision, but have {', '.join(found)}; give "
                "`--trainer.precision` one of them."
            )
        folder = Path(everybody[0][1])
        if folder != self.folder:
            self.folder = folder
            trainer._default_root_dir = str(folder)  # type: ignore[attr-defined]  # where SLURM's checkpoints go; it has no setter
            self.adopt(folder)


def _by_srun() -> bool:
    """As Lightning asks: in an interactive job every command has these variables."""
    return SLURMEnvironment.job_name() not in ("bash", "interactive")
