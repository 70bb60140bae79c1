"""SIGTERM, with which schedulers end a job: the run saves where it stands, and ends with a code that is not 0.

Lightning's own answer ends with 0, as a finished run does, saves nothing, and stops several processes at other steps.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L

from unmask.support.errors import TERMINATED, complain


class Terminated(SystemExit):
    """The run was asked to end."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)


class StopsOnSigterm(L.Callback):
    """Stops after the optimiser step, or the batch of a validation, that SIGTERM comes in; a second one kills at once.

    The process that gets the signal passes it on to those that it started, and all stop after the same batch, for
    which they ask each other after each. Before training, SIGTERM ends the process at once, as everywhere. After the
    last step, the run is finished as if nothing had come.

    Args:
        folder: the run folder; ``checkpoints/last.ckpt`` is written there.
        saves: whether the run writes checkpoints at all.

    Raises:
        Terminated: the run has stopped.
    """

    def __init__(self, folder: Path, saves: bool) -> None:
        self.folder, self.saves = folder, saves
        self.asked = False
        self._trainer: L.Trainer | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.folder = trainer.strategy.broadcast(self.folder)  # of several processes, the first decides
        self._trainer = trainer
        # Lightning installs it with its other handlers, so that those of SLURM stay.
        trainer._signal_connector._sigterm_notifier_fn = self._answer  # type: ignore[assignment,method-assign]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not trainer.fit_loop._should_accumulate():  # else what is added up would be lost
            self._stop(trainer)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        self._stop(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop(trainer)

    def _answer(self, signum: int, frame: FrameType | None) -> None:
        assert self._trainer is not None
        if self._trainer.strategy.launcher is not None:
            self._trainer.strategy.launcher.kill(signum)
        if self.asked:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        self.asked = True

    def _stop(self, trainer: L.Trainer) -> None:
        asked = self.asked and not 0 <= trainer.max_steps <= trainer.global_step
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if not asked:
            return
        step = trainer.global_step
        path = self.folder / "checkpoints" / "last.ckpt"
        saves = self.saves and step and not trainer.sanity_checking
        if saves:
            trainer.save_checkpoint(path, weights_only=False)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left takes a moment
        if trainer.is_global_zero:
            saved = f"`{path}` is saved; `--ckpt_path last` goes on from it" if saves else "nothing is saved"
            complain(f"Stopped by SIGTERM after step {step:,}: {saved}.")
        raise Terminated
