"""A plan: the figures of a run side by side, as a table or as JSON, and what keeps the recipe's effective batch."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from unmask.tools.plan.measuring import WARMUP_BATCHES, Figures
from unmask.tools.plan.processes import Processes


@dataclass(frozen=True)
class Batch:
    """What one optimiser step sees.

    Args:
        size: samples, or tokens, per process and batch.
        unit: what is counted: ``samples``, ``images``, ``tokens``, ...
        option: that says so, such as ``data.batch_size``.
        processes: that have such a batch each.
        accumulated: batches per optimiser step.
    """

    size: int
    unit: str
    option: str
    processes: int
    accumulated: int

    @property
    def effective(self) -> int:
        """What an optimiser step sees in all."""
        return self.size * self.processes * self.accumulated


def keeping(effective: int, size: int, processes: int) -> tuple[int, int] | None:
    """Accumulated batches and the batch of a process that make up an effective batch; None: no whole numbers do.

    The batch stays where it can; else it is the largest below it that goes.

    Args:
        effective: to be kept, at least 1.
        size: of a process's batch, at least 1.
        processes: at least 1.
    """
    if effective % processes:
        return None
    each = effective // processes
    fitting = next(one for one in range(min(size, each), 0, -1) if each % one == 0)
    return each // fitting, fitting


@dataclass(frozen=True)
class Plan:
    """What a run will be.

    Args:
        processes: how many, and on what.
        precision: of the run.
        num_samples: to train on; None: not known.
        batch: of an optimiser step; None: the data does not say.
        own: the recipe's effective batch, without this command line's; None: it has none in the same unit.
        figures: as a run has them.
        base_lr: before scaling; None: the model has no `Optimization`.
        notes: what to know beside, in sentences.
    """

    processes: Processes
    precision: str
    num_samples: int | None
    batch: Batch | None
    own: int | None
    figures: Figures
    base_lr: float | None
    notes: tuple[str, ...] = ()

    @property
    def seconds_per_step(self) -> float | None:
        """Of one optimiser step on one device; None: not measured."""
        figures = self.figures
        if not figures.seconds:
            return None
        once = median(figures.optimizer_seconds)
        return figures.accumulated * max(median(figures.seconds) - once, 0.0) + once

    @property
    def memory(self) -> dict[str, int]:
        """Bytes on each device, by what they are for."""
        parts = self.processes.world if self.processes.sharded else 1
        return {
            name: size if name == "activations" else -(-size // parts) for name, size in self.figures.memory.items()
        }

    @property
    def kept_by(self) -> dict[str, int] | None:
        """Options that keep the recipe's effective batch; None: it is kept, or nothing keeps it."""
        batch = self.batch
        if batch is None or self.own is None or batch.effective == self.own:
            return None
        found = keeping(self.own, batch.size, batch.processes)
        return found and {"trainer.accumulate_grad_batches": found[0], batch.option: found[1]}

    def to_json(self) -> str:
        """All of it."""
        figures, step = self.figures, self.seconds_per_step
        content: dict[str, Any] = {
            "processes": {**asdict(self.processes), "world": self.processes.world},
            "precision": self.precision,
            "num_samples": self.num_samples,
            "batch": self.batch and {**asdict(self.batch), "effective": self.batch.effective},
            "recipe_effective_batch": self.own,
            "kept_by": self.kept_by,
            "base_lr": self.base_lr,
            "learning_rate": figures.learning_rate,
            "warmup_steps": figures.warmup_steps,
            "steps": figures.steps,
            "epochs": figures.epochs,
            "batches_per_epoch": figures.batches,
            "parameters": {"trained": figures.trained, "frozen": figures.frozen},
            "memory_bytes": self.memory,
            "seconds_per_step": step,
            "processor_seconds_per_batch": median(figures.processor_seconds) if step else None,
            "waiting_ratio": sum(figures.waiting_seconds) / sum(figures.seconds) if step else None,
            "timed_batches": len(figures.seconds),
            "warmup_batches": WARMUP_BATCHES if figures.seconds else 0,
            "measured_on": self.processes.root,
            "run_seconds": step * figures.steps if step and figures.steps else None,
            "notes": list(self.notes),
        }
        return json.dumps(content, indent=2)

    def rows(self) -> list[tuple[str, str]]:
        """What, and how much, in words."""
        one, figures = self.processes, self.figures
        return [
            ("processes", f"{one.nodes:,} x {one.devices:,} {one.kind}, {one.strategy}"),
            ("precision", self.precision),
            ("samples", "not known" if self.num_samples is None else f"{self.num_samples:,}"),
            ("effective batch", self._effective()),
            ("learning rate", self._rate()),
            ("warm-up", "not known" if figures.warmup_steps is None else f"{figures.warmup_steps:,} steps"),
            ("steps", self._steps()),
            ("parameters", f"{figures.trained:,} trained, {figures.frozen:,} frozen"),
            ("memory per device", self._memory()),
            ("time", self._time()),
        ]

    def show(self) -> None:
        """Prints the table."""
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, show_header=False, title="Plan", title_justify="left")
        for row in self.rows():
            table.add_row(*row)
        Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)
        for note in self.notes:
            print(note)

    def _effective(self) -> str:
        batch = self.batch
        if batch is None:
            return "not known"
        told = (
            f"{batch.effective:,} {batch.unit} ({batch.size:,} x {batch.processes:,} processes x {batch.accumulated:,})"
        )
        if self.own is None:
            return told
        if self.own == batch.effective:
            return f"{told}, as the recipe"
        if (kept := self.kept_by) is None:
            return f"{told}; the recipe's {self.own:,} are no multiple of {batch.processes:,} processes"
        words = [f"--{name} {value}" for name, value in kept.items() if name != batch.option or value != batch.size]
        return f"{told}; the recipe's {self.own:,} are kept by {' '.join(words)}"

    def _rate(self) -> str:
        rate = f"{self.figures.learning_rate:.4g}"
        if self.base_lr is None or self.base_lr == self.figures.learning_rate:
            return rate
        return f"{rate} (`base_lr` {self.base_lr:.4g}, scaled by effective batch / 256)"

    def _steps(self) -> str:
        figures = self.figures
        if figures.steps is None:
            return "not known"
        if figures.epochs is None:
            return f"{figures.steps:,}"
        return f"{figures.steps:,} ({figures.epochs:,.4g} epochs of {figures.batches:,} batches)"

    def _memory(self) -> str:
        parts = ", ".join(f"{name} {_size(size)}" for name, size in self.memory.items())
        return f"{_size(sum(self.memory.values()))}: {parts}"

    def _time(self) -> str:
        step, figures = self.seconds_per_step, self.figures
        if step is None:
            return "not measured"
        told = f"{1000 * step:,.3g} ms a step"
        if figures.steps:
            told += f", {duration(step * figures.steps)} for all, without validation"
        waited = sum(figures.waiting_seconds) / sum(figures.seconds)
        where = f"median of {len(figures.seconds)} batches on one {self.processes.root}"
        return f"{told} ({where}, {waited:.0%} of it between steps, where data is waited for)"


def duration(seconds: float) -> str:
    """In the two largest units: ``1 h 12 min``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"


def _size(num_bytes: int) -> str:
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000  # type: ignore[assignment]
    return f"{num_bytes:.3g} GB"
