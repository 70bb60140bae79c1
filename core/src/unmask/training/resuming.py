"""A resumed run goes on where its checkpoint stands, whenever that was written.

A checkpoint may be written after a batch, during or after a validation, or at the end of an epoch, and Lightning's
counters differ each time. Lightning guesses from them where it was. With validation in some epochs only, or a limit on
batches, it guesses wrong: it trains one batch too many, or leaves a validation or the end of an epoch out. So the
counters are brought into one of two forms here: between two epochs, or after a batch and all that followed it.
"""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, GradientAccumulationScheduler
from lightning.pytorch.loops.evaluation_loop import RestartStage
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only

from unmask.data import MaskedDataModule
from unmask.support.errors import UserError

POSITION = "position"
"""Of a checkpoint: what decides which samples a step sees."""
_NAMES = {
    "world_size": "The number of processes",
    "accumulate_grad_batches": "`trainer.accumulate_grad_batches`",
    "overfit_batches": "`trainer.overfit_batches`",
    "batch_size": "`data.batch_size`",
    "tokens_per_batch": "`data.tokens_per_batch`",
    "num_samples": "The number of training samples",
    "order": "The order of samples (shards and `data.window`, as a number)",
}


class ExactResume(L.Callback):
    """Sets Lightning's counters right before a resumed run goes on, and finishes what its checkpoint lay in.

    Batches whose gradients were not yet applied are trained again. A validation that was due and had not ended is run
    from its beginning. The end of an epoch that had not come comes.

    Raises:
        UserError: the checkpoint lies within an epoch, and its batches would now hold other samples; it has more steps
            than are asked for; or its counters are not Lightning's.
    """

    def __init__(self) -> None:
        self._resumed = self._unvalidated = self._nothing_left = False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[POSITION] = _position(trainer) | {"accumulated": trainer.accumulate_grad_batches}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != TrainerFn.FITTING or "loops" not in checkpoint:
            return
        then = checkpoint.get(POSITION, {})
        try:
            done, self._unvalidated = _settle(checkpoint["loops"]["fit_loop"], then.get("accumulated", 1))
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"The checkpoint cannot be resumed: its counters are not those of a run ({error!r})."
            ) from error
        if 0 <= trainer.max_steps < (steps := int(checkpoint.get("global_step", 0))):
            raise UserError(
                f"`trainer.max_steps` must be at least {steps:,}, the steps that the checkpoint has, but is "
                f"{trainer.max_steps:,}."
            )
        self._resumed = True
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.state_key in checkpoint.get("callbacks", {}):
                checkpoint["callbacks"][callback.state_key]["patience"] = callback.patience  # the option given now
        now = _position(trainer)
        if done:
            _same_samples(then, now, done)
        elif (before := then.get("num_samples")) != (num := now.get("num_samples")) and before and num:
            told = f"There are {num:,} training samples; there were {before:,} when the checkpoint was written."
            rank_zero_only(print)(told, flush=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._resumed:
            return
        self._resumed = False
        fit, loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
        done = loop.batch_progress.current.ready
        for callback in _schedulers(trainer):  # Lightning asks them at the beginning of an epoch only
            trainer.accumulate_grad_batches = callback.get_accumulate_grad_batches(trainer.current_epoch)
        if pl_module.automatic_optimization:
            loop._batches_that_stepped = trainer.global_step
        if not done:  # an epoch begins as any other
            loop.restarting = fit._restarting = False
            return
        if done >= trainer.num_training_batches:
            loop.batch_progress.is_last_batch = True
        if loop._should_check_val_fx(fit._data_fetcher):  # type: ignore[arg-type]  # Lightning first does what follows a batch, and counts it
            if self._unvalidated:
                loop.val_loop._restart_stage = RestartStage.RESTARTED_MID_EVALUATION
            if pl_module.automatic_optimization and not loop._should_accumulate():
                loop._batches_that_stepped -= 1
        elif loop._num_ready_batches_reached():  # the epoch ends, without another batch
            self._nothing_left = loop.val_loop._has_run = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._nothing_left:
            loop = trainer.fit_loop.epoch_loop
            self._nothing_left = loop.restarting = loop.val_loop._has_run = False  # it went through no batch that would


def _settle(counters: dict[str, Any], accumulated: int) -> tuple[int, bool]:
    """Brings the counters of a fit loop into one form, in place.

    Args:
        counters: as Lightning saves them.
        accumulated: batches per optimiser step.

    Returns:
        Batches of the epoch that are done, 0 between two epochs; and whether a validation may be due that has not
        ended.
    """
    epochs, batches = counters["epoch_progress"], counters["epoch_loop.batch_progress"]
    validation = counters["epoch_loop.val_loop.batch_progress"]
    within = epochs["current"]["started"] > epochs["current"]["processed"]
    trained = batches["current"]["processed"]
    done = trained if within else 0
    is_last = bool(batches["is_last_batch"]) and batches["current"]["ready"] == trained
    if not is_last:  # after the last one, what is left over is applied
        done -= done % accumulated

    for count in epochs.values():
        _set(count, count["processed"], begun=count["processed"] + (done > 0))
    _set(batches["total"], batches["total"]["processed"] - (trained - done if within else 0))
    after_batch = batches["current"]["completed"] < trained
    _set(batches["current"], done)
    batches["is_last_batch"] = done > 0 and is_last

    now = validation["current"]
    unvalidated = done > 0 and (after_batch or now["completed"] < now["ready"] or not now["ready"])
    if unvalidated:
        _set(validation["total"], validation["total"]["ready"] - now["ready"])
        _set(now, 0)
    return done, unvalidated


def _set(count: dict[str, int], done: int, begun: int | None = None) -> None:
    begun = done if begun is None else begun
    count.update(ready=begun, started=begun, processed=done, completed=done)


def _position(trainer: L.Trainer) -> dict[str, int]:
    """What decides which samples the batches of an epoch hold."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    found = {"world_size": trainer.world_size, "overfit_batches": trainer.overfit_batches}  # type: ignore[attr-defined]
    if not _schedulers(trainer):
        found["accumulate_grad_batches"] = trainer.accumulate_grad_batches
    for name in ("batch_size", "tokens_per_batch"):
        if isinstance(value := getattr(data, name, None), int):
            found[name] = value
    if isinstance(data, MaskedDataModule):
        found["num_samples"] = len(data.splits.train)  # type: ignore[arg-type]
        nearby = data.nearby()
        found["order"] = 0 if nearby is None else nearby.mark
    return found


def _schedulers(trainer: L.Trainer) -> list[GradientAccumulationScheduler]:
    return [one for one in trainer.callbacks if isinstance(one, GradientAccumulationScheduler)]  # type: ignore[attr-defined]


def _same_samples(then: dict[str, int], now: dict[str, int], done: int) -> None:
    odd = [name for name in _NAMES if name in then and then[name] != now.get(name, then[name])]
    if odd:
        name = odd[0]
        raise UserError(
            f"{_NAMES[name]} must stay {then[name]:,} until the epoch ends, but is {now[name]:,}: the checkpoint was "
            f"written after {done:,} batches of one, and the next would hold other samples. A checkpoint of the end of "
            "an epoch can be resumed so."
        )
