"""What a run is and what its steps take, seen from inside of it: a callback that ends it after some batches."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

WARMUP_BATCHES = 2
"""Batches that are not timed: memory is taken and kernels are chosen in them."""
MOST_S = 60.0
"""Seconds after which measuring ends, with at least one batch timed."""


class Enough(Exception):  # noqa: N818  no error
    """Everything is known, so the run ends."""


@dataclass
class Figures:
    """What Lightning and the model make of a config.

    Args:
        steps: optimiser steps of the run; None: as many as the data has, which is not known.
        epochs: passes over the data, perhaps a part of one; None: the length of the data is not known.
        batches: of an epoch and process; None: not known.
        accumulated: batches per optimiser step.
        learning_rate: the highest, after scaling and warm-up.
        warmup_steps: until then.
        trained: parameters with a gradient.
        frozen: parameters without one, teachers' included.
        memory: bytes by what they are for, on one device.
        seconds: of each timed batch, from its beginning to that of the next.
        optimizer_seconds: of the optimiser and what follows it in each.
        waiting_seconds: until the next batch is there in each.
        processor_seconds: of this process, in each; other programs on the machine do not change it.
    """

    steps: int | None = None
    epochs: float | None = None
    batches: int | None = None
    accumulated: int = 1
    learning_rate: float = 0.0
    warmup_steps: int | None = None
    trained: int = 0
    frozen: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    optimizer_seconds: list[float] = field(default_factory=list)
    waiting_seconds: list[float] = field(default_factory=list)
    processor_seconds: list[float] = field(default_factory=list)


class Measuring(L.Callback):
    """Notes the figures when the optimiser is there, times batches, and ends the run.

    Gradients are not accumulated meanwhile: each batch has its optimiser step, whose time is told apart.

    Args:
        num_batches: to time; 0: no batch is trained on.

    Raises:
        Enough: all is measured.
    """

    def __init__(self, num_batches: int) -> None:
        self.num_batches = num_batches
        self.figures = Figures()
        self._saved = ExitStack()
        self._begun = self._started = self._stepping = self._ended = self._worked = 0.0
        self._number = 0
        self._before = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        figures, batches = self.figures, trainer.num_training_batches
        steps = trainer.estimated_stepping_batches
        figures.steps = int(steps) if 0 <= steps < float("inf") else None
        figures.accumulated = trainer.accumulate_grad_batches
        if isinstance(batches, int):
            figures.batches = batches
            each = -(-batches // figures.accumulated)  # what is left over at an epoch's end has a step of its own
            figures.epochs = None if figures.steps is None else figures.steps / each
        rates = [group.get("initial_lr", group["lr"]) for one in trainer.optimizers for group in one.param_groups]
        figures.learning_rate = float(max(rates, default=0.0))
        figures.warmup_steps = getattr(pl_module, "warmup_steps", None)
        weights = list(pl_module.parameters())
        trained = [one for one in weights if one.requires_grad]
        figures.trained = sum(one.numel() for one in trained)
        figures.frozen = sum(one.numel() for one in weights) - figures.trained
        constants = [one for one in pl_module.buffers() if isinstance(one, Tensor)]
        figures.memory = {
            "weights": _bytes(trained),
            "frozen weights and buffers": _bytes([one for one in weights if not one.requires_grad] + constants),
            "gradients": _bytes(trained),
            "optimiser": 2 * _bytes(trained),  # Adam's two moments, until a step shows it
        }
        if self.num_batches == 0:
            raise Enough

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begun = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.accumulate_grad_batches = 1

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        now = self._now(trainer)
        if self._number > WARMUP_BATCHES:
            self.figures.seconds.append(now - self._started)
            self.figures.optimizer_seconds.append(self._ended - self._stepping if self._stepping else 0.0)
            self.figures.waiting_seconds.append(now - self._ended)
            self.figures.processor_seconds.append(time.process_time() - self._worked)
        done = len(self.figures.seconds)
        if done >= self.num_batches or (done and now - self._begun > MOST_S):
            raise Enough
        if self._number == 0:
            self._count_saved(pl_module)
        elif self._number == 1 and trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        self._number += 1
        self._stepping = 0.0
        self._started, self._worked = self._now(trainer), time.process_time()

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        self._saved.close()

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        self._stepping = self._now(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._ended = self._now(trainer)
        if self._number == 1:
            states = [state for one in trainer.optimizers for state in one.state.values()]
            held = [value for state in states for value in state.values() if isinstance(value, Tensor)]
            self.figures.memory["optimiser"] = _bytes(held)
        elif self._number == 2 and trainer.strategy.root_device.type == "cuda":
            self.figures.memory["activations"] = torch.cuda.max_memory_allocated() - self._before

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.figures.seconds and self._number:  # a run of fewer batches than are left out
            self.figures.seconds = [self._ended - self._started]
            self.figures.optimizer_seconds = [self._ended - self._stepping if self._stepping else 0.0]
            self.figures.waiting_seconds = [0.0]
            self.figures.processor_seconds = [time.process_time() - self._worked]

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._saved.close()

    def _count_saved(self, module: nn.Module) -> None:
        """Counts what this step keeps for its backward pass, each piece of memory once, weights left out."""
        seen = {one.untyped_storage().data_ptr() for one in [*module.parameters(), *module.buffers()]}
        self.figures.memory["activations"] = 0

        def keep(tensor: Tensor) -> Tensor:
            if tensor.layout == torch.strided and (place := tensor.untyped_storage()).data_ptr() not in seen:
                seen.add(place.data_ptr())
                self.figures.memory["activations"] += place.nbytes()
            return tensor

        self._saved.enter_context(saved_tensors_hooks(keep, lambda tensor: tensor))

    @staticmethod
    def _now(trainer: L.Trainer) -> float:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic()


def _bytes(tensors: list[Any]) -> int:
    """Of all, each piece of memory once."""
    places = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors if one.numel()}
    return sum(places.values())
