"""Collapse monitor: says in words when representations collapse or the loss is stuck."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from unmask.callbacks.fixed_batch import fixed_batch
from unmask.model import MaskedModel
from unmask.support.atomic import written_whole
from unmask.support.checks import at_least
from unmask.tools.features.vectors import evaluating
from unmask.tools.health import measures as health
from unmask.tools.health import messages as diagnosis
from unmask.tools.health.examine import Checkup, check_up
from unmask.tools.health.measures import Spread, Stretch

FIRST_STEPS = 20
"""Optimiser steps from the start to the first check-up."""
LEAST_STEPS = 100
"""Optimiser steps from one check-up to the next, at least, once the run is well under way: what keeps it cheap."""
LEAST_WINDOW = 1000
"""Optimiser steps without progress that count as stuck, at least: healthy runs sit at the mean answer for hundreds."""


class CollapseMonitor(L.Callback):
    """Logs ``health/*`` (see `unmask.tools.health.examine.check_up`) and warns, once of a kind, in a plain sentence.

    A few held-out samples are looked at before training, often in the first steps, then at the ends of
    epochs and within long ones. Warnings, also written to ``health.txt`` in the run folder, are about

    - **collapse**: with a learned target (one that moves), codes *and* target of different samples have become
      nearly the same or few-dimensional beside what they were before training, at two check-ups in a row. With
      a target that is data the same must last for the whole window, since a run may sit at
      the mean answer for long and leave it again;
    - **a stuck loss**: over the window the training loss has not fallen beyond its noise, and is still at its
      start or no better than a constant answer (see `unmask.tools.health.measures.stuck`);
    - **held-out codes or losses that are NaN or infinite**. A training loss that is not finite ends the
      run (`unmask.training.guard`).

    Training is not changed: the run's random numbers and weights are left untouched. A check-up that
    fails is reported once and never stops a run. Fewer than 8 held-out samples are not judged.

    Args:
        num_samples: held-out samples to look at, at least 1.
        every_n_epochs: epochs from one check-up to the next, at least 1. Until as many steps have gone by since the
            last one as were done by then, in [20, 100], there is none: that keeps it cheap.
        every_n_steps: within an epoch, optimiser steps without a check-up, at most; at least 1. While
            fewer are done, the next comes when their number has doubled.
        window: optimiser steps without progress that count as stuck, at least 1; None: a quarter of the run, but
            at least 1,000. A shorter run is never called stuck.

    Raises:
        ValueError: a count below 1, or (in `setup`) another model than a `MaskedModel`.
    """

    def __init__(
        self, num_samples: int = 64, every_n_epochs: int = 1, every_n_steps: int = 1000, window: int | None = None
    ) -> None:
        at_least(1, num_samples=num_samples, every_n_epochs=every_n_epochs, every_n_steps=every_n_steps, window=window)
        self.num_samples = num_samples
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.window = window
        self._forget()

    def _forget(self) -> None:
        self._batch: Any = None
        self._failed = False
        self._start: dict[str, Spread | None] = {}  # before training
        self._last_step = 0  # of the newest check-up
        self._since: int | None = None  # the check-up since which codes look collapsed
        self._stretches: list[Stretch] = []
        self._losses: list[Tensor] = []  # of the batches since then
        self._said: dict[str, str] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not isinstance(pl_module, MaskedModel):
            raise ValueError(f"`CollapseMonitor` needs a MaskedModel, but the model is a {type(pl_module).__name__}.")
        if stage == "fit" and trainer.global_step == 0:  # what a checkpoint says is loaded after this
            self._forget()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._start:  # a resumed run has that of its beginning
            self._check(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):
            return
        self._losses.append(loss.detach())  # left on the device: reading each would wait for it
        if self._due(trainer.global_step, self.every_n_steps):
            self._check(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0 and self._due(trainer.global_step, LEAST_STEPS):
            self._check(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step != self._last_step:
            self._check(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for checkpoints that hold nothing else."""
        return {
            "start": {name: spread and list(spread) for name, spread in self._start.items()},
            "last_step": self._last_step,
            "since": self._since,
            "stretches": [list(one) for one in self._stretches],
            "losses": [float(loss) for loss in self._losses],
            "said": dict(self._said),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._start = {name: spread and Spread(*spread) for name, spread in state_dict["start"].items()}
        self._last_step, self._since = state_dict["last_step"], state_dict["since"]
        self._stretches = [Stretch(*one) for one in state_dict["stretches"]]
        self._losses = [torch.tensor(loss) for loss in state_dict["losses"]]
        self._said = dict(state_dict["said"])

    def _due(self, step: int, most: int) -> bool:
        """Whether as many steps have gone by since the newest check-up as were done until it, or ``most``."""
        return step - self._last_step >= min(max(self._last_step, FIRST_STEPS), most)

    def _check(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Measure, log, and say what is wrong."""
        step = trainer.global_step
        self._last_step = step
        window = self.window or _quarter(trainer)
        gain = None
        found = self._examine(trainer, pl_module)
        if found is not None:
            numbers = {f"health/{name}": value for name, value in found.numbers.items() if math.isfinite(value)}
            for logger in trainer.loggers:  # Lightning counts rows from 0: the first is that of the first step
                logger.log_metrics(numbers, step=max(step - 1, 0))
            if len(numbers) < len(found.numbers):
                self._say(trainer, "not finite", f"Held-out codes or losses are NaN or infinite. {diagnosis.DIVERGED}")
                return
            if not self._start:
                self._start = {"pooled": found.pooled, "tokens": found.tokens, "target": found.target}
            learned = health.moves(found.target, self._start["target"])
            gain = None if learned else found.gain
            self._judge_codes(trainer, found, learned, window)
        self._judge_loss(trainer, gain, window)

    def _examine(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Checkup | None:
        """A check-up on all devices, since a sharded model needs every one of them; None when it has failed."""
        if self._failed:
            return None
        try:
            with ExitStack() as stack:
                stack.enter_context(evaluating(pl_module))  # loading samples may draw random numbers
                stack.enter_context(trainer.precision_plugin.forward_context())
                if self._batch is None:
                    self._batch = fixed_batch(trainer, self.num_samples)
                return check_up(pl_module, trainer.strategy.batch_to_device(self._batch, dataloader_idx=0))  # type: ignore[arg-type]
        except Exception as error:  # a check-up is never worth a run
            self._failed = True
            rank_zero_warn(f"`CollapseMonitor` looks at losses only: it failed with {type(error).__name__}: {error}")
            return None

    def _judge_codes(self, trainer: L.Trainer, found: Checkup, learned: bool, window: int) -> None:
        """Collapse: of codes and learned target at two check-ups in a row, or of codes alone for the whole window."""
        step, start = trainer.global_step, self._start
        kind = health.collapse(found.pooled, start["pooled"])
        if not health.collapse(found.tokens, start["tokens"]):
            kind = None
        of_target = health.target_collapse(found.target, start["target"]) if learned else None
        if of_target == health.GONE:
            kind = kind or health.GONE
        if kind is None:
            self._since = None
            return
        if self._since is None:
            self._since = step
        if step - self._since < (1 if of_target else window):
            return
        matrix = "target" if kind == health.GONE else "pooled"
        what = diagnosis.collapsed(kind, getattr(found, matrix), self._start[matrix])  # type: ignore[arg-type]
        if of_target:
            self._say(trainer, "collapse", diagnosis.with_its_target(what))
        else:
            self._say(trainer, "collapse", diagnosis.without_its_target(what, step - self._since))

    def _judge_loss(self, trainer: L.Trainer, gain: float | None, window: int) -> None:
        """A stuck loss, by the means of the stretches between check-ups."""
        step = trainer.global_step
        if self._losses:
            losses = torch.tensor([float(loss) for loss in self._losses], dtype=torch.float64)
            losses = losses * trainer.accumulate_grad_batches  # Lightning had divided them
            mean, variance = float(losses.mean()), float(losses.var(correction=0))
            self._stretches.append(Stretch(step, len(losses), mean, variance))
            self._losses = []
        self._stretches = self._stretches[:1] + [one for one in self._stretches[1:] if one.step > step - window]
        course = health.trend(self._stretches, window)
        if course and health.stuck(course, gain):
            self._say(trainer, "stuck", diagnosis.standing_still(course, gain, window))

    def _say(self, trainer: L.Trainer, kind: str, text: str) -> None:
        """Warn, and write all warnings of the run to its folder; once of each kind."""
        if kind in self._said:
            return
        self._said[kind] = f"step {trainer.global_step}: {text}"
        rank_zero_warn(self._said[kind][0].upper() + self._said[kind][1:])
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            folder = Path(trainer.default_root_dir)
            folder.mkdir(parents=True, exist_ok=True)
            with written_whole(folder / "health.txt", sync=False) as part:
                part.write_text("".join(f"{line}\n" for line in self._said.values()), encoding="utf-8")


def _quarter(trainer: L.Trainer) -> int:
    """A quarter of the run's steps, but enough of them; of a run without end, ten times as many as are enough."""
    total = float(trainer.estimated_stepping_batches)
    endless = not math.isfinite(total) or total < 0
    return 10 * LEAST_WINDOW if endless else max(math.ceil(total / 4), LEAST_WINDOW)
