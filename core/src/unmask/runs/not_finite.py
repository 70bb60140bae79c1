"""Steps that were not finite, in the run folder: what ``unmask replay`` needs to take such a step again.

``not-finite/step-12/`` has ``about.json`` (which step and samples it was, and what they were drawn with), ``batch.pt``
and ``state.pt``: the batch, and weights and optimiser as they were before the step. Of several processes, each has a
folder (``step-12-rank-1``) with its batch, and the first one the state. Files are read without running code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from unmask.support.atomic import written_whole
from unmask.support.errors import UserError
from unmask.training.compiled import plain_names
from unmask.training.guard import NUM_NAMED, Seen

FOLDER = "not-finite"
MOST = 3
"""Steps that a run folder keeps, the first ones: each is as large as a checkpoint."""
STOP, SKIP = CHOICES = ("stop", "skip")


class NotFinite(L.Callback):
    """Saves what `FiniteGuard` has seen, and says whether the run goes on.

    Args:
        folder: the run folder.
        choice: ``stop``, or ``skip`` to leave such a step out.

    Raises:
        UserError: another word.
    """

    def __init__(self, folder: Path, choice: str = STOP) -> None:
        if choice not in CHOICES:
            raise UserError(f"`not_finite` must be `{STOP}` or `{SKIP}`, but is {choice!r}.")
        self.folder, self.skips = Path(folder), choice == SKIP

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.folder = trainer.strategy.broadcast(self.folder)  # of several processes, the first decides

    def keep(self, trainer: L.Trainer, pl_module: L.LightningModule, seen: Seen | None) -> str:
        """Saves it, on all processes; says how to take the step again, or why not, as the end of a message."""
        step = trainer.global_step + 1
        others = {name.split("-")[1] for name in kept(self.folder)} - {str(step)}
        if trainer.strategy.broadcast(len(others) >= MOST):  # what follows needs all processes
            return f" It is not saved: `{self.folder / FOLDER}` holds {MOST} steps."
        state = trainer.strategy.lightning_module_state_dict()  # all processes hold parts of a sharded one
        optimizers = [trainer.strategy.optimizer_state(one) for one in trainer.optimizers]
        one_of = f"-rank-{trainer.global_rank}" if trainer.world_size > 1 else ""
        where = self.folder / FOLDER / f"step-{step}{one_of}"
        try:
            where.mkdir(parents=True, exist_ok=True)
            if trainer.is_global_zero:  # under other ranks it is the same, or in parts
                before = {name: seen.buffers[name] for name in state if seen and name in seen.buffers}
                self._write(
                    where / "state.pt",
                    {"state_dict": plain_names({**state, **before}), "optimizer_states": optimizers}
                    | {"agreed": dict(getattr(pl_module, "agreed", {}))},
                )
            if seen is not None:
                batch, left_out = plain(seen.batch)
                self._write(where / "batch.pt", batch)
                with written_whole(where / "about.json") as part:
                    about = _about(trainer, pl_module, seen) | {"left_out": left_out}
                    part.write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        except OSError as error:  # the message is worth more than its record
            return f" It could not be saved: {error.strerror}."
        return f" `unmask replay {self.folder}` takes that step again."

    def _write(self, path: Path, content: Any) -> None:
        with written_whole(path) as part, part.open("wb") as file:
            torch.save(content, file)


def kept(folder: Path) -> list[str]:
    """Names of the folders of steps that a run kept, in the order of steps and processes."""
    found = []
    for path in (folder / FOLDER).glob("step-*"):
        numbers = path.name.split("-")[1::2]
        if path.is_dir() and all(number.isdecimal() for number in numbers):
            found.append(([int(number) for number in numbers], path.name))
    return [name for _, name in sorted(found)]


def plain(value: Any) -> tuple[Any, list[str]]:
    """Tensors, numbers and text of a batch, on the CPU, in dicts and lists; and what else there was, by name."""
    left_out: list[str] = []

    def made(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            return value.detach().cpu().clone()
        if value is None or isinstance(value, str | int | float | bool):
            return value
        if isinstance(value, Mapping):
            return {str(key): made(one, f"{name}.{key}".lstrip(".")) for key, one in value.items()}
        if type(value) in (list, tuple):
            return type(value)([made(one, f"{name}.{i}".lstrip(".")) for i, one in enumerate(value)])
        left_out.append(f"{name or 'the batch'} ({type(value).__name__})")
        return None

    return made(value, ""), left_out


def _about(trainer: L.Trainer, pl_module: L.LightningModule, seen: Seen) -> dict[str, Any]:
    """What ``about.json`` holds."""
    progress = getattr(pl_module, "progress", None)
    return {
        "step": seen.step,
        "epoch": trainer.current_epoch,
        "batch_idx": seen.batch_idx,
        "rank": trainer.global_rank,
        "world_size": trainer.world_size,
        "what": seen.what,
        "loss": f"{seen.loss:.8g}",  # JSON has no NaN
        "index": seen.ids,
        "odd": seen.odd,
        "names": _names(trainer, seen),
        "seed": getattr(pl_module, "seed", None),
        "precision": str(trainer.precision),
        "device": trainer.strategy.root_device.type,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "progress": asdict(progress) if progress is not None else None,
    }


def _names(trainer: L.Trainer, seen: Seen) -> dict[str, str]:
    """What the samples that a message names are called, by their numbers, where the data says it."""
    names = seen.batch.get("name") if isinstance(seen.batch, Mapping) else None
    ids = (seen.odd or seen.ids)[:NUM_NAMED]
    if isinstance(names, list | tuple) and len(names) == len(seen.ids):
        return {str(i): str(names[seen.ids.index(i)]) for i in ids}
    try:
        train = trainer.datamodule.splits.train  # type: ignore[attr-defined]
        return {str(i): str(train[i]["name"]) for i in ids}
    except Exception:  # names are worth nothing where reading them fails, for the message is about something else
        return {}
