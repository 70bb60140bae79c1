"""How many processes a run has, of which kind, and one device that counts as the first of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from unmask.support.errors import UserError

SHARDED = ("fsdp", "modelparallel", "model_parallel", "deepspeed_stage_3")
"""In names of strategies that cut weights, gradients and the optimiser's state into a part per process."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run: one for each device of each node.

    Args:
        nodes: machines, at least 1.
        devices: devices of each, at least 1.
        kind: of device: ``cpu``, ``cuda``, ``mps`` or another word of Lightning's.
        strategy: its name, or that of its class.
        here: whether this machine has devices of that kind.
    """

    nodes: int
    devices: int
    kind: str
    strategy: str
    here: bool

    @property
    def world(self) -> int:
        """All of them."""
        return self.nodes * self.devices

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of the weights alone."""
        return any(word in self.strategy.lower() for word in SHARDED)

    @property
    def root(self) -> str:
        """The kind of device that a step is measured on."""
        return self.kind if self.here else "cpu"


def processes_of(accelerator: Any, devices: Any, num_nodes: int, strategy: Any, auto: int | None = None) -> Processes:
    """What Lightning makes of these options of its trainer.

    Args:
        accelerator: a word, a class, or a config of one.
        devices: a number, a list of numbers, a text of either, or ``auto``.
        num_nodes: machines.
        strategy: a word, a class, or a config of one.
        auto: what ``auto`` stands for as the number of devices; None: as many as this machine has.

    Raises:
        UserError: a number of devices that is none; or ``auto`` where this machine has none of that kind.
    """
    kind = _kind(accelerator)
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(kind, False)
    count = _count(devices)
    if count is None:
        count = auto or (torch.cuda.device_count() if kind == "cuda" else 1 if here else 0)
    if count < 1:
        raise UserError(
            f"`--trainer.devices` must be the number of devices of a machine to plan for, but is {devices!r}, and this "
            f"machine has no {kind}."
        )
    name = _name(strategy)
    if name == "auto":
        name = "ddp" if num_nodes * count > 1 else "single_device"
    return Processes(num_nodes, count, kind, name, here)


class FirstOfSeveral(SingleDeviceStrategy):
    """One device in one process, which counts as the first of ``world_size``.

    So data, schedules and rates are those of a run of that many, by the code of a run; and nothing is exchanged.
    """

    def __init__(self, device: str, world_size: int) -> None:
        super().__init__(device=torch.device(device, 0) if device != "cpu" else device)
        self.world_size = world_size


def _kind(accelerator: Any) -> str:
    word = _name(accelerator).removesuffix("Accelerator").lower()
    if word in ("auto", "gpu"):
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
        return found or ("cpu" if word == "auto" else "cuda")
    return word


def _name(given: Any) -> str:
    path = getattr(given, "class_path", given)  # of a config
    return (path if isinstance(path, str) else type(path).__name__).rpartition(".")[2]


def _count(devices: Any) -> int | None:
    """None: ``auto``."""
    if isinstance(devices, list | tuple):
        return len(devices)
    text = str(devices).strip()
    if text in ("auto", "-1"):
        return None
    if "," in text:
        return len([part for part in text.split(",") if part.strip()])
    try:
        return int(text)
    except ValueError:
        raise UserError(f"`--trainer.devices` must be a number, a list of them or `auto`, but is {text!r}.") from None
