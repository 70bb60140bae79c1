"""Progress bar: loss, samples per second and time left of the whole run, not of an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import BatchesProcessedColumn, CustomBarColumn
from lightning.pytorch.utilities.data import extract_batch_size
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.console import Console
from rich.progress import ProgressColumn, Task, TextColumn
from rich.text import Text

SMOOTHING_S = 3.0
"""Time constant of the smoothed speed."""
REFRESH_S = 0.2
"""Shortest time between two looks at the metrics: each waits for the device."""


class ProgressBar(RichProgressBar):
    """One bar for the run; where there is no terminal (logs of servers), a plain line each 10 %.

    Args:
        console_kwargs: arguments of the `rich.console.Console` that is drawn on.
    """

    def __init__(self, console_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__(refresh_rate=10, console_kwargs=console_kwargs)
        self._plain = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        console = Console(**self._console_kwargs)
        draws = console.is_jupyter or (console.is_terminal and not console.is_dumb_terminal)
        self._plain = not draws and trainer.is_global_zero
        if not draws:
            self.disable()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._total = max(float(trainer.estimated_stepping_batches), 1.0)
        self._first_step = self._last_printed = trainer.global_step
        self._started = self._ticked = time.monotonic()
        self._looked = -math.inf
        self._samples = self._seconds = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._ticked = time.monotonic()
        if self.progress is None or self.is_disabled:
            return
        description = self._get_train_description(trainer.current_epoch)
        if self.train_progress_bar_id is None:
            self._initialize_train_progress_bar_id()
        else:
            self.progress.update(self.train_progress_bar_id, description=description)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._measure(trainer, batch)
        if self._plain:
            tenth = math.floor(10 * trainer.global_step / self._total)  # 0 throughout an endless run
            if math.floor(10 * self._last_printed / self._total) < tenth < 10:
                self._print(trainer, pl_module, trainer.current_epoch)
        elif not self.is_disabled:
            if self.train_progress_bar_id is None:  # resumed in the middle of an epoch
                self._initialize_train_progress_bar_id()
            self._update(self.train_progress_bar_id, trainer.global_step)
            if time.monotonic() - self._looked > REFRESH_S:
                self._update_metrics(trainer, pl_module)
                self._looked = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if self._plain and not math.isfinite(self._total):
            self._print(trainer, pl_module, trainer.current_epoch)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        self._ticked = time.monotonic()  # time spent on validation is not time per training sample

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._plain and math.isfinite(self._total):
            self._print(trainer, pl_module, trainer.current_epoch - 1)  # it has counted on by now

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return items

    def configure_columns(self, trainer: L.Trainer) -> list[ProgressColumn]:
        return [
            TextColumn("{task.description}"),
            CustomBarColumn(),
            BatchesProcessedColumn(style=self.theme.batch_progress),
            TrainingColumn(self, self._speed_text),
            TrainingColumn(self, self._time_text),
        ]

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

    def _initialize_train_progress_bar_id(self) -> None:
        assert self.progress is not None
        # Created at the step already reached, so that a resumed run does not count as speed.
        self.train_progress_bar_id = self.progress.add_task(
            self._get_train_description(self.trainer.current_epoch),
            total=self._total,
            completed=self.trainer.global_step,
        )

    def _get_train_description(self, current_epoch: int) -> str:
        max_epochs = self.trainer.max_epochs or -1
        return f"Epoch {current_epoch + 1}" + (f"/{max_epochs}" if max_epochs > 0 else "")

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
        parts += [self._get_train_description(max(epoch, 0)).lower()]
        parts += [f"{name} {float(value):.4f}" for name, value in self.get_metrics(trainer, pl_module).items()]
        parts += [text for text in (self._speed_text(), self._time_text()) if text]
        print(" | ".join(parts), flush=True)


class TrainingColumn(ProgressColumn):
    """A text of the bar that follows training; nothing in those of validation and testing."""

    def __init__(self, bar: ProgressBar, text: Callable[[], str]) -> None:
        super().__init__()
        self.bar, self.text = bar, text

    def render(self, task: Task) -> Text:
        return Text(self.text() if task.id == self.bar.train_progress_bar_id else "")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
