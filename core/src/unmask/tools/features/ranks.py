"""Processes that share the work of features: each has batches that follow each other, and all has an order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric import Fabric

from unmask.runs.launched import on_all
from unmask.training.quiet import quiet


@dataclass(frozen=True)
class Ranks:
    """One of several processes.

    Args:
        rank: its number, from 0.
        world: how many there are.
        device: where it computes.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether it is the one that prints and writes what all have made."""
        return self.rank == 0

    def share(self, count: int, rank: int | None = None) -> range:
        """Which of ``count`` things in a row are a process's own: shares follow each other and differ by one at most.

        Args:
            count: at least 0.
            rank: whose; None: this one's.
        """
        rank = self.rank if rank is None else rank
        return range(rank * count // self.world, (rank + 1) * count // self.world)

    def gathered(self, own: Any) -> list[Any]:
        """What each process gave, in order."""
        if self.world == 1:
            return [own]
        everybody: list[Any] = [None] * self.world
        dist.all_gather_object(everybody, own)
        return everybody

    def together(self, work: Callable[[], Any]) -> Any:
        """Does ``work`` on each process, and waits for all.

        Raises:
            ValueError: ``work`` raised it, or an OSError, on any of them; all raise the same.
        """
        if self.world == 1:
            return work()
        made, failed = None, None
        try:
            made = work()
        except (ValueError, OSError) as error:
            failed = error
        told = [one for one in self.gathered(None if failed is None else str(failed)) if one is not None]
        if failed is not None:
            raise failed
        if told:
            raise ValueError(told[0])
        return made


ALONE = Ranks()
"""The only process."""


@contextmanager
def ranks_of(devices: int, device: str) -> Iterator[Ranks]:
    """Starts as many processes of this command as there are devices, or joins those that torchrun or srun started.

    Args:
        devices: how many of this machine; 1: this process alone, unless others have started it.
        device: where to compute, such as ``cuda``; of several, each process takes one of that kind.

    Raises:
        UserError: another number of devices than processes were started.
    """
    given = on_all(devices if devices > 1 else "auto", 1) or {"devices": devices, "num_nodes": 1}
    if given["devices"] * given["num_nodes"] == 1:
        yield Ranks(device=device)
        return
    kind = torch.device(device).type
    with quiet():
        fabric = Fabric(accelerator=kind, strategy="ddp", **given)
        fabric.launch()
    try:
        yield Ranks(fabric.global_rank, fabric.world_size, str(fabric.device))
        fabric.barrier()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
