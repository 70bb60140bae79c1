"""Stops a run at the first loss or gradient that is not finite, and keeps the last finite checkpoint.

NaN in one sample makes every weight NaN, and all steps after it useless. So the run ends there, says which step and
which samples it was, and nothing that is not finite is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from unmask.support.errors import UserError
from unmask.training.sharding import total_norm

NUM_NAMED = 8
"""Samples of a batch that a message names; the others are counted."""


class Diverged(UserError):  # noqa: N818 (says what happened)
    """The run cannot go on: a loss, a gradient or a weight is not finite."""

    exit_code = 1


class _Seen(NamedTuple):
    """A batch whose loss or gradient has yet to be looked at."""

    step: int
    ids: list[Tensor]
    finite: Tensor
    what: str


class FiniteGuard(L.Callback):
    """Raises `Diverged` where the loss of a step, its gradient, or a weight of a checkpoint is NaN or infinite.

    On a CPU it looks before the weights are changed. On other devices looking would wait for them, so what is found
    there is read when a step is logged, and before anything is saved. fp16 scales its losses until gradients
    overflow, and skips those steps itself: there, losses alone are looked at.

    Raises:
        Diverged: names the step, and the samples by their ``index`` in the training data: those that hold values
            that are not finite, else the whole batch.
    """

    def __init__(self) -> None:
        self._ids: list[Tensor] = []  # of the batches since the last optimiser step
        self._stepped = False
        self._batch: Any = None
        self._waiting: list[_Seen] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._stepped:
            self._ids, self._stepped = [], False
        index = batch.get("index") if isinstance(batch, Mapping) else None
        if isinstance(index, Tensor):
            self._ids.append(index)
        self._batch = batch

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self._stepped = True
        if trainer.scaler is not None:
            return
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradients:
            self._look(trainer, _size(gradients), "gradient")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            self._look(trainer, loss.detach(), "loss")
        if trainer.global_step % max(trainer.log_every_n_steps, 1) == 0:  # type: ignore[attr-defined]
            self._read(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._read(trainer)
        for name, tensor in checkpoint["state_dict"].items():
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise Diverged(
                    f"Step {trainer.global_step:,}: `{name}` holds values that are not finite, so no checkpoint is "
                    f"written{_kept(trainer)}."
                )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._read(trainer)
        self._batch = None

    def _look(self, trainer: L.Trainer, value: Tensor, what: str) -> None:
        self._waiting.append(_Seen(trainer.global_step, list(self._ids), value.isfinite().all(), what))
        if value.device.type == "cpu":
            self._read(trainer)

    def _read(self, trainer: L.Trainer) -> None:
        waiting, self._waiting = self._waiting, []
        for seen in waiting:
            if not bool(seen.finite):
                # a loss is told after its step was counted
                step = seen.step if seen.what == "loss" and trainer.global_step else seen.step + 1
                raise Diverged(
                    f"Step {step:,}: the {seen.what} is not finite, so the run stops{_kept(trainer)}. "
                    f"{self._samples(seen)}"
                )

    def _samples(self, seen: _Seen) -> str:
        """Which samples it was, in a sentence."""
        ids = torch.cat([one.flatten() for one in seen.ids]).tolist() if seen.ids else []
        if not ids:
            return "Its samples have no `index`."
        odd = [one for one in _not_finite(self._batch) if one in ids]  # it may have been another batch by then
        if odd:
            return f"Values that are not finite are in {_listed(odd)} of the training data."
        return (
            f"Its batch: {_listed(ids)} of the training data, whose values are finite. What usually helps: a lower "
            "learning rate, a longer warm-up, gradient clipping."
        )


def _size(gradients: list[Tensor]) -> Tensor:
    """A number that is finite exactly where all gradients are: their norm, a tenth of the optimiser's own time."""
    if any(one.dtype == torch.float16 for one in gradients):  # whose norm overflows before they do
        return torch.stack([one.isfinite().all() for one in gradients]).all().log()
    return total_norm(gradients)


def _not_finite(batch: Any) -> list[int]:
    """Ids of the samples of ``batch`` that hold NaN or infinity."""
    if not isinstance(batch, Mapping) or not isinstance(batch.get("index"), Tensor):
        return []
    index = batch["index"].flatten()
    odd = torch.zeros(len(index), dtype=torch.bool)
    for key, values in batch.items():
        if key == "label" or not isinstance(values, Tensor) or not values.is_floating_point() or values.ndim == 0:
            continue
        rows = values.isfinite().flatten(1).all(1) if values.ndim > 1 else values.isfinite()
        if len(rows) == len(index):
            odd |= ~rows.cpu()
        elif isinstance(offsets := batch.get("offsets"), Tensor) and len(rows) == int(offsets[-1]):  # packed
            owner = torch.bucketize((~rows).nonzero().flatten().cpu(), offsets.cpu(), right=True) - 1
            odd[owner] = True
    return index.cpu()[odd].tolist()


def _listed(ids: list[int]) -> str:
    more = f" and {len(ids) - NUM_NAMED} more" if len(ids) > NUM_NAMED else ""
    return f"sample{'s' * (len(ids) > 1)} {', '.join(map(str, ids[:NUM_NAMED]))}{more}"


def _kept(trainer: L.Trainer) -> str:
    written = [c.last_model_path or c.best_model_path for c in trainer.checkpoint_callbacks]  # type: ignore[attr-defined]
    path = next((path for path in written if path), None)
    return f"; the last checkpoint, `{path}`, is kept as it is" if path else ""
