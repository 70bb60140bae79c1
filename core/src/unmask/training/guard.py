"""Stops a run at the first loss or gradient that is not finite, or leaves that step out, and keeps what it was.

NaN in one sample makes every weight NaN, and all steps after it useless. So it is noticed before weights change: the
run says which step and which samples it was, and ends there, or goes on without that step. Nothing that is not finite
is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor

from unmask.support.errors import UserError, complain

NUM_NAMED = 8
"""Samples of a batch that a message names; the others are counted."""
MOST_IN_A_ROW = 10
"""Steps left out one after the other, after which a run gives up."""


class Diverged(UserError):  # noqa: N818 (says what happened)
    """The run cannot go on: a loss, a gradient or a weight is not finite."""

    exit_code = 1


class Seen(NamedTuple):
    """A batch whose loss or gradient is not finite, before the optimiser's step.

    Args:
        step: the optimiser step that it is part of, counted from 1.
        batch_idx: its number in the epoch.
        batch: as the model was given it.
        what: ``loss`` or ``gradient``.
        loss: its value.
        buffers: the model's, by name, as they were before this batch.
    """

    step: int
    batch_idx: int
    batch: Any
    what: str
    loss: float
    buffers: dict[str, Tensor]

    @property
    def ids(self) -> list[int]:
        """Its samples' numbers in the training data; empty where it does not say."""
        index = self.batch.get("index") if isinstance(self.batch, Mapping) else None
        return index.flatten().tolist() if isinstance(index, Tensor) else []

    @property
    def odd(self) -> list[int]:
        """Those of them that hold NaN or infinity."""
        return not_finite(self.batch)


@runtime_checkable
class Keeps(Protocol):
    """A callback that decides what becomes of such a step, and keeps it."""

    skips: bool
    """Whether the run goes on without it."""

    def keep(self, trainer: L.Trainer, pl_module: L.LightningModule, seen: Seen | None) -> str:
        """Saves what was seen (None: another process has seen it); says where, as the end of a sentence."""


class FiniteGuard(L.Callback):
    """Raises `Diverged` where the loss of a step, its gradient, or a weight of a checkpoint is NaN or infinite.

    It looks after each backward pass, before weights change; on a GPU that waits for it, once a batch. All processes
    decide alike. fp16 scales its losses until gradients overflow, and skips those steps itself: there, losses alone
    are looked at.

    A callback of the run that `Keeps` saves the step, and may have it left out: gradients are dropped, buffers are as
    they were before it, and no part follows (`Part.update`). Steps and learning rates count on.

    Raises:
        Diverged: names the step, and the samples by their ``index`` in the training data: those that hold values
            that are not finite, else the whole batch. Also after `MOST_IN_A_ROW` steps left out.
    """

    def __init__(self) -> None:
        self.skipped = self.in_a_row = 0
        self._stepped = True
        self._batch: tuple[Any, int] = (None, 0)
        self._loss: Tensor | None = None
        self._seen: Seen | None = None
        self._before: dict[str, Tensor] = {}  # buffers before this batch
        self._before_step: dict[str, Tensor] = {}  # and before the first one of this step

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch = batch, batch_idx
        self._before = {
            name: buffer.detach().clone() for name, buffer in pl_module.named_buffers(remove_duplicate=False)
        }
        if self._stepped:
            self._before_step, self._seen, self._stepped = self._before, None, False

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        self._loss = loss.detach()

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._seen is not None or self._loss is None:  # what is added up is of no use by then
            return
        finite, what = self._loss.isfinite().all(), "loss"
        if trainer.scaler is None:
            gradients = [_own(p.grad) for p in pl_module.parameters() if p.grad is not None]
            if gradients:
                finite = finite & _size(gradients).isfinite()
        if bool(finite):
            return
        scale = trainer.scaler.get_scale() if trainer.scaler is not None else 1.0
        loss = float(self._loss) * trainer.accumulate_grad_batches / scale
        if bool(self._loss.isfinite().all()):
            what = "gradient"
        batch, batch_idx = self._batch
        self._seen = Seen(trainer.global_step + 1, batch_idx, batch, what, loss, self._before)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self._stepped = True
        seen, found = self._seen, self._seen is not None
        if trainer.world_size > 1:
            found = trainer.strategy.reduce_boolean_decision(found, all=False)
        if not found:
            self.in_a_row = 0
            return
        keeps = [callback for callback in trainer.callbacks if isinstance(callback, Keeps)]  # type: ignore[attr-defined]
        kept = "".join(callback.keep(trainer, pl_module, seen) for callback in keeps)
        what, which = _told(trainer, seen)
        what = f"Step {trainer.global_step + 1:,}: the {what} is not finite"
        if not any(callback.skips for callback in keeps):
            raise Diverged(f"{what}, so the run stops{_kept(trainer)}. {which}{kept}")
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if self.in_a_row >= MOST_IN_A_ROW:
            what = f"{what}, as in the {self.in_a_row - 1} steps before it"
            raise Diverged(f"{what}, so the run stops{_kept(trainer)}. {which}{kept}")
        self._leave_out(pl_module, optimizer)
        if trainer.is_global_zero:
            complain(f"{what}, so it is left out ({self.skipped:,} by now). {which}{kept}")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        for name, tensor in checkpoint["state_dict"].items():
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise Diverged(
                    f"Step {trainer.global_step:,}: `{name}` holds values that are not finite, so no checkpoint is "
                    f"written{_kept(trainer)}."
                )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._batch, self._seen, self._loss = (None, 0), None, None
        self._before, self._before_step = {}, {}

    def _leave_out(self, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        """Without gradients an optimiser changes nothing."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        with torch.no_grad():
            for name, buffer in pl_module.named_buffers(remove_duplicate=False):
                buffer.copy_(self._before_step[name])
        pl_module.left_out = True  # type: ignore[assignment]


def not_finite(batch: Any) -> list[int]:
    """Numbers of the samples of ``batch`` that hold NaN or infinity."""
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


def named(ids: list[int]) -> str:
    """Samples in words: the first few by number."""
    more = f" and {len(ids) - NUM_NAMED} more" if len(ids) > NUM_NAMED else ""
    return f"sample{'s' * (len(ids) > 1)} {', '.join(map(str, ids[:NUM_NAMED]))}{more}"


def _own(gradient: Tensor) -> Tensor:
    """Of a sharded gradient, this process's part: processes ask each other anyway."""
    return gradient.to_local() if hasattr(gradient, "to_local") else gradient


def _size(gradients: list[Tensor]) -> Tensor:
    """A number that is finite exactly where all gradients are: their norm, a tenth of the optimiser's own time."""
    if any(one.dtype == torch.float16 for one in gradients):  # whose norm overflows before they do
        return torch.stack([one.isfinite().all() for one in gradients]).all().log()
    return torch.nn.utils.get_total_norm(gradients)


def _told(trainer: L.Trainer, seen: Seen | None) -> tuple[str, str]:
    """What is not finite, and which samples it was, in a sentence. Of several processes, whose gradients mix, the one
    whose samples or whose own loss it was is told of."""
    mine = seen and (not seen.odd, seen.what != "loss", seen.what, _samples(seen))
    told: list[Any] = [mine]
    if trainer.world_size > 1:
        told = [None] * trainer.world_size
        dist.all_gather_object(told, mine)
    what, which = min(one for one in told if one is not None)[2:]
    return what, which


def _samples(seen: Seen) -> str:
    """Which samples it was, in a sentence."""
    if not seen.ids:
        return "Its samples have no `index`."
    if seen.odd:
        return f"Values that are not finite are in {named(seen.odd)} of the training data."
    return (
        f"Its batch: {named(seen.ids)} of the training data, whose values are finite. What usually helps: a lower "
        "learning rate, a longer warm-up, gradient clipping."
    )


def _kept(trainer: L.Trainer) -> str:
    written = [c.last_model_path or c.best_model_path for c in trainer.checkpoint_callbacks]  # type: ignore[attr-defined]
    path = next((path for path in written if path), None)
    return f"; the last checkpoint, `{path}`, is kept as it is" if path else ""
