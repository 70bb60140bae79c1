"""When a run writes its checkpoint: ``checkpoints/last.ckpt``, by steps, by the clock, or by epochs."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from unmask.runs.folders import newest_checkpoint
from unmask.support.errors import UserError
from unmask.support.nearest import nearest

EVERY = "1 epoch"
"""Where nothing else is asked for."""
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
_UNITS = ("step", "epoch", *_SECONDS)
_WORDS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*", re.IGNORECASE)


class Saving(ModelCheckpoint):
    """Lightning's `ModelCheckpoint` of one file, written over each time, and in any case when training ends.

    Args:
        folder: the run folder.
        every: a count and a unit: ``500 steps``, ``20 minutes`` or ``2 epochs``; seconds and hours are units too.
            Steps are the optimiser's. By the clock, the first step that ends so long after the last checkpoint is
            followed by one.

    Raises:
        UserError: it is no such text, or a share of a step or epoch.
    """

    def __init__(self, folder: Path, every: str = EVERY) -> None:
        super().__init__(
            dirpath=(folder / "checkpoints").absolute(),
            filename="last",
            enable_version_counter=False,  # written over, atomically
            **_trigger(every),
        )

    @property
    def state_key(self) -> str:
        """One for all triggers, so that a resumed run may have another."""
        return ModelCheckpoint().state_key

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # `_last_global_step_saved` is Lightning's own note; a public one it does not have
        if trainer.global_step and self._last_global_step_saved != trainer.global_step and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(Path(self.dirpath or "") / "last.ckpt")


def saving(folder: Path, every: str | None, given: list[Any], writes: bool) -> list[Saving]:
    """What saves the checkpoints of a run; nothing where a callback of the user's does, or none are to be written.

    Args:
        folder: the run folder.
        every: ``--checkpoint_every``; None: `EVERY`.
        given: the run's callbacks.
        writes: whether checkpoints are wanted.

    Raises:
        UserError: ``every`` is given, and nothing would come of it.
    """
    own = any(isinstance(callback, ModelCheckpoint) for callback in given)
    if every is not None and (own or not writes):
        why = "`trainer.callbacks` has a ModelCheckpoint" if own else "no checkpoints are written"
        raise UserError(f"`checkpoint_every` must be left out where {why}, but is {every!r}.")
    return [] if own or not writes else [Saving(folder, every or EVERY)]


def kept(folder: Path | None) -> str:
    """Which checkpoint a run that failed has left, as the end of a sentence; empty where there is none."""
    path = newest_checkpoint(folder) if folder is not None else None
    return f"; the last checkpoint, `{path}`, is kept as it is" if path else ""


def _trigger(every: str) -> dict[str, Any]:
    """Arguments of a `ModelCheckpoint`."""
    found = _WORDS.fullmatch(every)
    unit = found[2].lower() if found else ""
    if found is None or unit not in _UNITS:
        near = nearest(unit, list(_UNITS)) if unit else []
        hint = f"; nearest: {found[1]} {near[0]}s" if found and near else ""
        raise UserError(
            "`checkpoint_every` must be a count of steps, epochs, seconds, minutes or hours, such as '500 steps' or "
            f"'20 minutes', but is {every!r}{hint}."
        )
    count = float(found[1])
    if count <= 0 or (unit not in _SECONDS and count != int(count)):
        raise UserError(
            f"`checkpoint_every` must be above 0{'' if unit in _SECONDS else f', and whole {unit}s'}, but is {every!r}."
        )
    if unit in _SECONDS:
        return {"train_time_interval": timedelta(seconds=count * _SECONDS[unit]), "save_on_train_epoch_end": False}
    if unit == "step":
        return {"every_n_train_steps": int(count), "save_on_train_epoch_end": False}
    return {"every_n_epochs": int(count), "save_on_train_epoch_end": True}
