"""Training for as long as a budget of processor time lasts: the same work whoever else uses the machine."""

from __future__ import annotations

import copy
import math
import statistics
import time
from typing import Any, NamedTuple

import lightning as L

from unmask import MaskedDataModule, MaskedModel

TIMED = 14
"""Steps that tell how many fit the budget; the first four are not counted."""
PRECISION: Any = "bf16-mixed"
"""On processors with AVX512-BF16 half as long again for the same time."""


class Fitted(NamedTuple):
    """Training that has been.

    Args:
        steps: optimiser steps.
        used_s: their CPU seconds, with those before the first of them.
        loss: of the last step.
    """

    steps: int
    used_s: float
    loss: float


def fit(model: MaskedModel, data: MaskedDataModule, budget_s: float, seed: int, clip: float) -> str:
    """`fitted`, and in words how many steps those were, and how long they took."""
    steps, used, loss = fitted(model, data, budget_s, seed, clip)
    return f"{steps:,} steps of {data.batch_size} in {used:.0f} s of CPU, training loss {loss:.4f}"


def fitted(
    model: MaskedModel,
    data: MaskedDataModule,
    budget_s: float,
    seed: int,
    clip: float | None,
    precision: Any = PRECISION,
) -> Fitted:
    """Trains for as many steps as fit the budget; what comes before the first step counts, and is measured, too.

    Args:
        model: is trained.
        data: batches in the order that ``seed`` gives them.
        budget_s: CPU seconds of this process.
        seed: of order, masks and all else.
        clip: greatest norm of the gradient; None: any.
        precision: as Lightning calls it.
    """
    clock = _Clock()
    began = time.process_time()
    _run(copy.deepcopy(model), data, seed, TIMED, clip, precision, clock)
    before = clock.first - began
    steps = max(math.floor((budget_s - before) / statistics.median(clock.steps[4:])), TIMED)
    began = time.process_time()
    loss = _run(model, data, seed, steps, clip, precision)
    return Fitted(steps, time.process_time() - began, loss)


def _run(
    model: MaskedModel,
    data: MaskedDataModule,
    seed: int,
    steps: int,
    clip: float | None,
    precision: Any,
    *callbacks: L.Callback,
) -> float:
    L.seed_everything(seed, verbose=False)
    data.seed = None  # the order of batches is this seed's
    trainer = L.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False,
        enable_progress_bar=False, limit_val_batches=0, gradient_clip_val=clip, precision=precision,
        callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return float(trainer.callback_metrics["train/loss"])


class _Clock(L.Callback):
    """CPU seconds from each step's beginning to the next one's, so that loading counts."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_train_batch_start(self, *args: object) -> None:
        now = time.process_time()
        if hasattr(self, "_began"):
            self.steps.append(now - self._began)
        else:
            self.first = now
        self._began = now
