"""Progress bar: loss, samples per second and time left of the whole run, not of an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar as LightningBar
from lightning.pytorch.utilities.data import extract_batch_size
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

SMOOTHING_S = 3.0
"""Time constant of the smoothed speed."""
REFRESH_S = 0.2
"""Shortest time between two looks at the metrics: each waits for the device."""


class ProgressBar(LightningBar):
    """One bar for the run; where there is no terminal (logs of servers), a plain line each 10 %.

    Args:
        console_kwargs: arguments of the `rich.console.Console` that is drawn on.
    """

    def __init__(self, console_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._console_kwargs = console_kwargs or {}
        self._enabled = True
        self._draws = self._plain = False
        self._looked = -math.inf
        self._drawn: Progress | None = None
        self._run: TaskID | None = None
        self._pass: TaskID | None = None

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False
        self._close()

    def print(self, *args: Any, **kwargs: Any) -> None:
        if self._drawn is None:
            print(*args, **kwargs)
        else:
            self._drawn.console.print(*args, **kwargs)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        console = Console(**self._console_kwargs)
        draws = console.is_jupyter or (console.is_terminal and not console.is_dumb_terminal)
        self._draws = draws and trainer.is_global_zero
        self._plain = not draws and trainer.is_global_zero

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._total = max(float(trainer.estimated_stepping_batches), 1.0)
        self._first_step = self._last_printed = trainer.global_step
        self._started = self._ticked = time.monotonic()
        self._looked = -math.inf
        self._samples = self._seconds = 0.0
        # It begins at the step already reached, so that a resumed run does not count as speed.
        self._run = self._bar(self._epoch(trainer.current_epoch), self._total, trainer.global_step)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._ticked = time.monotonic()
        if self._drawn is not None and self._run is not None:
            self._drawn.update(self._run, description=self._epoch(trainer.current_epoch))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._measure(trainer, batch)
        if self._plain and self._enabled:
            tenth = math.floor(10 * trainer.global_step / self._total)  # 0 throughout an endless run
            if math.floor(10 * self._last_printed / self._total) < tenth < 10:
                self._print(trainer, pl_module, trainer.current_epoch)
        elif self._drawn is not None and self._run is not None:
            self._drawn.update(self._run, completed=trainer.global_step)
            if time.monotonic() - self._looked > REFRESH_S:
                self._show_metrics(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._show_metrics(trainer, pl_module)
        if self._plain and self._enabled and not math.isfinite(self._total):
            self._print(trainer, pl_module, trainer.current_epoch)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._show_metrics(trainer, pl_module)
        if self._plain and self._enabled and math.isfinite(self._total):
            self._print(trainer, pl_module, trainer.current_epoch - 1)  # it has counted on by now

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._pass = self._bar("Sanity check", _sum(trainer.num_sanity_val_batches))

    def on_sanity_check_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end_pass()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._pass = self._bar("Validation", _sum(trainer.num_val_batches))

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        self._advance()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if trainer.state.fn == "fit":
            self._end_pass()
            self._show_metrics(trainer, pl_module)
        self._ticked = time.monotonic()  # time spent on validation is not time per training sample

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._pass = self._bar("Testing", _sum(trainer.num_test_batches))

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._pass = self._bar("Predicting", _sum(trainer.num_predict_batches))

    def on_test_batch_end(self, *_: Any) -> None:
        self._advance()

    def on_predict_batch_end(self, *_: Any) -> None:
        self._advance()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._close()

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return items

    @property
    def samples_per_second(self) -> float:
        """Smoothed training speed over all devices, waiting for data included; 0 when not known."""
        return self._samples / self._seconds if self._seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time to the end of the run at the average pace so far, validation included."""
        done = self.trainer.global_step - self._first_step
        if not done or not math.isfinite(self._total):
            return None
        elapsed = time.monotonic() - self._started
        return elapsed / done * max(self._total - self.trainer.global_step, 0)

    def _measure(self, trainer: L.Trainer, batch: Any) -> None:
        now = time.monotonic()
        elapsed, self._ticked = now - self._ticked, now
        try:
            index = batch.get("index") if isinstance(batch, dict) else None  # packed batches have no first side
            num_samples = (extract_batch_size(batch) if index is None else len(index)) * trainer.world_size
        except (MisconfigurationException, RecursionError):
            return  # a batch of unknown size: no speed is shown
        # Samples and seconds decay alike, so their quotient is unbiased from the first batch on.
        decay = math.exp(-elapsed / SMOOTHING_S)
        self._samples = self._samples * decay + num_samples
        self._seconds = self._seconds * decay + elapsed

    def _bar(self, what: str, total: float, done: int = 0) -> TaskID | None:
        """A new bar; None where none is drawn."""
        if not (self._draws and self._enabled):
            return None
        if self._drawn is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TrainingColumn(self, self._speed_text),
                TrainingColumn(self, self._time_text),
                TextColumn("{task.fields[metrics]}"),
            )
            # No thread refreshes it: data-loading processes are forked meanwhile.
            self._drawn = Progress(*columns, console=Console(**self._console_kwargs), auto_refresh=False)
            self._drawn.start()
        return self._drawn.add_task(what, total=total if math.isfinite(total) else None, completed=done, metrics="")

    def _advance(self) -> None:
        if self._drawn is not None and self._pass is not None:
            self._drawn.advance(self._pass)
            if time.monotonic() - self._looked > REFRESH_S:
                self._drawn.refresh()
                self._looked = time.monotonic()

    def _end_pass(self) -> None:
        if self._drawn is not None and self._pass is not None:
            self._drawn.remove_task(self._pass)
        self._pass = None

    def _show_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._drawn is None or self._run is None:
            return
        items = self.get_metrics(trainer, pl_module)
        text = " ".join(f"{name} {float(value):.4f}" for name, value in items.items())
        self._drawn.update(self._run, metrics=text, refresh=True)
        self._looked = time.monotonic()

    def _close(self) -> None:
        if self._drawn is not None:
            self._drawn.refresh()
            self._drawn.stop()
        self._drawn = self._run = self._pass = None

    def _epoch(self, number: int) -> str:
        max_epochs = self.trainer.max_epochs or -1
        return f"Epoch {number + 1}" + (f"/{max_epochs}" if max_epochs > 0 else "")

    def _speed_text(self) -> str:
        speed = self.samples_per_second
        name = getattr(getattr(self.trainer, "datamodule", None), "sample_name", "samples")
        return f"{speed:,.0f} {name}/s" if speed else ""

    def _time_text(self) -> str:
        left = self.seconds_left
        return f"{_clock(time.monotonic() - self._started)}, {'?' if left is None else _clock(left)} left"

    def _print(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        step, self._last_printed = trainer.global_step, trainer.global_step
        known = math.isfinite(self._total)
        parts = [f"step {step}"]
        if known:
            parts = [f"[{100 * step / self._total:3.0f}%] step {step}/{self._total:.0f}"]
        parts += [self._epoch(max(epoch, 0)).lower()]
        parts += [f"{name} {float(value):.4f}" for name, value in self.get_metrics(trainer, pl_module).items()]
        parts += [text for text in (self._speed_text(), self._time_text()) if text]
        print(" | ".join(parts), flush=True)


class TrainingColumn(ProgressColumn):
    """A text of the bar that follows training; nothing in those of validation and testing."""

    def __init__(self, bar: ProgressBar, text: Callable[[], str]) -> None:
        super().__init__()
        self.bar, self.text = bar, text

    def render(self, task: Task) -> Text:
        return Text(self.text() if task.id == self.bar._run else "")


def _sum(batches: Any) -> float:
    """Batches of all loaders, of which Lightning gives one number or a list."""
    return float(sum(batches)) if isinstance(batches, list) else float(batches)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
