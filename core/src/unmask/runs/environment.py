"""``environment.json``: what a run was trained with, one entry per start or resume of it."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import lightning as L
import torch

from unmask.plugins import registry
from unmask.runs.folders import read_environment
from unmask.runs.stopping import Terminated
from unmask.support.atomic import written_whole

PACKAGES = ("unmask", "torch", "lightning", "numpy")
"""Whose versions are noted, beside those of the plugins."""


class Environment(L.Callback):
    """Notes versions, machine and command line when training starts, and how far and long it went.

    An entry is written when training starts, with every checkpoint, and at the end; so of a run
    that was killed, it says what the last checkpoint knew. A resumed run adds an entry.

    Args:
        folder: the run folder.
        words: the command line; the user's home folder is written as ``~``.
    """

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self.path = Path(folder) / "environment.json"
        self.words = [_without_home(word) for word in words]
        self.entries: list[dict[str, Any]] = []
        self._num_parameters = 0
        self._started = 0.0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # Before a strategy cuts them up.
        self._num_parameters = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._started = time.monotonic()
        self.entries = read_environment(self.path) if trainer.global_step else []
        self.entries.append(
            {
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": self.words,
                "python": platform.python_version(),
                "versions": versions(),
                "platform": platform.platform(),
                "device": device_name(trainer.strategy.root_device),
                "num_devices": trainer.world_size,
                "num_threads": torch.get_num_threads(),
                "precision": str(trainer.precision),
                "seed": getattr(pl_module, "seed", None),
                "trainable_parameters": self._num_parameters,
                "first_step": trainer.global_step,
            }
        )
        self._note(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._note(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._note(trainer, "finished")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and not self.entries:  # resumed at its end: a kill came before that was noted
            self.entries = read_environment(self.path)
            if self.entries and self.entries[-1].get("last_step") == trainer.global_step:
                self.entries[-1]["ended"] = "finished"
                self._write()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        known = {KeyboardInterrupt: "interrupted", Terminated: "terminated"}
        with suppress(OSError):  # a full disk has its own message
            self._note(trainer, known.get(type(exception), type(exception).__name__))

    def _note(self, trainer: L.Trainer, ended: str | None = None) -> None:
        if not self.entries:  # not the first of several processes, or nothing was trained
            return
        seconds = round(time.monotonic() - self._started, 1)
        self.entries[-1] |= {"last_step": trainer.global_step, "seconds": seconds, "ended": ended}
        self._write()

    def _write(self) -> None:
        with written_whole(self.path, sync=False) as part:
            part.write_text(json.dumps(self.entries, indent=2) + "\n")


def versions() -> dict[str, str]:
    """Versions of this package, its plugins, and what training rests on."""
    distributions = sorted({component.distribution for component in registry.components()})
    found = {}
    for package in dict.fromkeys([*PACKAGES, *distributions]):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a folder on the path, not an installed package
            continue
    return found


def device_name(device: torch.device) -> str:
    """What a person would call it, such as ``cuda: NVIDIA H200``."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    if device.type != "cpu":
        return device.type
    name = platform.processor() or platform.machine()
    about = Path("/proc/cpuinfo")  # Linux; `platform` knows no more than the architecture there
    if about.is_file() and (found := re.search(r"^model name\s*:\s*(.+)$", about.read_text(), re.MULTILINE)):
        name = found[1].strip()
    return f"cpu: {name}, {os.cpu_count()} cores"


def _without_home(word: str) -> str:
    home = Path.home()
    if len(home.parts) < 2:
        return word
    return re.sub(rf"(?<![\w.~-]){re.escape(str(home))}(?=/|$)", "~", word)
