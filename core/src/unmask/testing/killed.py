"""Runs that are killed and carried on, to compare what they are given with a run that is left alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from unmask.data import MaskedDataModule


class KilledError(Exception):
    """Raised by `KillAfter`."""


class KillAfter(L.Callback):
    """Ends a run by an error before the batch after ``num_batches``."""

    def __init__(self, num_batches: int) -> None:
        self.left = num_batches

    def on_train_batch_start(self, *_: Any) -> None:
        if self.left == 0:
            raise KilledError
        self.left -= 1


def given_batches(
    datamodule: MaskedDataModule,
    folder: Path,
    num_steps: int,
    note: Callable[[Any], Any] = lambda batch: batch["index"].tolist(),
    kill: int | None = None,
    resume: bool = False,
) -> list[Any]:
    """What ``note`` makes of each batch that a run is given.

    Args:
        datamodule: a new one for each run.
        folder: for the checkpoint, which is written after each step.
        num_steps: of the whole run.
        note: makes of a batch what is compared; by default its samples' numbers.
        kill: batches after which the run is killed; None: never.
        resume: carry on from the checkpoint in ``folder``. Such a run is given another seed, which must not matter.
    """
    L.seed_everything(4 if resume else 3, verbose=False)
    model = _Notes(note)
    callbacks = [ModelCheckpoint(folder, save_last=True, every_n_train_steps=1)]
    trainer = L.Trainer(
        max_steps=num_steps, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        limit_val_batches=0, callbacks=[*callbacks, *([] if kill is None else [KillAfter(kill)])],
    )  # fmt: skip
    with nullcontext() if kill is None else pytest.raises(KilledError):
        trainer.fit(model, datamodule, ckpt_path=folder / "last.ckpt" if resume else None)
    return model.notes


class _Notes(L.LightningModule):
    """A model of one weight that notes what it is given."""

    def __init__(self, note: Callable[[Any], Any]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.note = note
        self.notes: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.notes.append(self.note(batch))
        return self.weight * 1.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)
