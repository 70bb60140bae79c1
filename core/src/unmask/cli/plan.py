"""``unmask plan``, and ``unmask fit --plan``: what a run will be, before anything is trained."""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext, redirect_stdout, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import IterableDataset

from unmask import agreements
from unmask.cli import fit as training
from unmask.cli.precision import AUTO, settle
from unmask.cli.trainer import check_words
from unmask.data import MaskedDataModule
from unmask.runs.folders import is_finished
from unmask.support.arguments import Arguments, whole_number
from unmask.support.errors import UserError
from unmask.tools.plan.measuring import Enough, Measuring
from unmask.tools.plan.plan import Batch, Plan
from unmask.tools.plan.processes import FirstOfSeveral, Processes, processes_of

CHANGES_BATCH = (
    "--data.batch_size",
    "--data.tokens_per_batch",
    "--trainer.devices",
    "--trainer.num_nodes",
    "--trainer.accumulate_grad_batches",
)
"""Options without which a command line has the recipe's own effective batch."""
BATCHES = {"tokens_per_batch": "tokens", "batch_size": None}
"""Options of data that say how large a batch is, and in what unit; None: in what the data is made of."""


def run(command: str, arguments: list[str]) -> int:
    """Take the options of a plan, leave the others to the parser of ``unmask fit``, measure, print."""
    parser = Arguments(
        command,
        "What a run will be: processes, effective batch, learning rate, steps, memory, time. Give a recipe or file "
        "(RECIPE or --config), then any option of `unmask fit`. A few batches are trained on one device to measure; "
        "nothing is written. `unmask fit --plan` is the same.",
    )
    parser.add_argument("--batches", default="10", help="to time, after two that are not; 0: none is run; default: 10")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
    given, words = parser.parse_known_args(arguments)
    if words and not words[0].startswith("-"):
        words = ["--config", *words]
    if not words:
        raise UserError(f"`unmask {command}` needs a recipe or file, as `unmask fit --config` takes it.")
    num_batches = whole_number("--batches", given.batches, least=0)

    def kind(*args: Any, **kwargs: Any) -> Planning:
        return Planning(num_batches, given.json, *args, **kwargs)

    return training.run("plan", words, kind)


class Planning(training.Training):
    """Parses and builds as a run would, trains a few batches on one device, and tells of them.

    Args:
        num_batches: to time.
        as_json: whether JSON is printed.
        args, kwargs: as of `Training`.
    """

    def __init__(self, num_batches: int, as_json: bool, *args: Any, **kwargs: Any) -> None:
        self.num_batches = num_batches
        self.out = sys.stdout
        self.as_json = as_json
        with self._aside():
            super().__init__(*args, **kwargs)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        super().parse_arguments(parser, args)
        words = without(CHANGES_BATCH, list(args))
        self.own_config = self.config if words == list(args) else parser.parse_args(words)

    def before_instantiate_classes(self) -> None:
        """Decides on processes and precision; no run folder is made."""
        if self.config.ckpt_path is not None:
            raise UserError("`--ckpt_path` must be left out: a plan is one of a whole run, from its beginning.")
        check_words(self.config.trainer.accelerator, self.config.trainer.strategy)  # others will stand in for them
        self.processes = _processes(self.config.trainer)
        self.asked_precision = self.config.trainer.precision
        self.config.trainer.precision = settle(self.config.trainer.precision, self.config.trainer.accelerator)
        self.folder = Path()

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """The run's own, but on one device and with nothing that writes."""
        given = dict(self.config_init["trainer"])
        callbacks = given["callbacks"] or []
        callbacks = list(callbacks) if isinstance(callbacks, list) else [callbacks]
        self.left_out = [type(one).__name__ for one in callbacks if not isinstance(one, GradientAccumulationScheduler)]
        callbacks = [one for one in callbacks if isinstance(one, GradientAccumulationScheduler)]
        plugins = given["plugins"] if isinstance(given["plugins"], list) else [given["plugins"]]
        plugins = [one for one in plugins if one and not isinstance(one, ClusterEnvironment | CheckpointIO)]
        root = self.processes.root
        self.measuring = Measuring(self.num_batches)
        self.scratch = tempfile.TemporaryDirectory()  # for whatever a part of others may write
        return self.trainer_class(
            **given
            | {
                "accelerator": root, "devices": 1, "num_nodes": 1,
                "strategy": FirstOfSeveral(root, self.processes.world),
                "plugins": [*plugins, LightningEnvironment()], "callbacks": [*callbacks, self.started, self.measuring],
                "default_root_dir": self.scratch.name, "logger": False, "profiler": None,
                "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
                "limit_val_batches": 0, "num_sanity_val_steps": 0,
            }
        )  # fmt: skip

    def go(self) -> None:
        """Measures and prints."""
        with self._aside(), self.scratch:
            notes = self._notes()
            agreements.check(self.model, self.datamodule, loaded=False)
            with suppress(Enough):
                self.trainer.fit(self.model, datamodule=self.datamodule)
            self._check_counted()
        plan = Plan(
            processes=self.processes,
            precision=str(self.trainer.precision),
            num_samples=_num_samples(self.datamodule),
            batch=self._batch(),
            own=self._own_effective(),
            figures=self.measuring.figures,
            base_lr=getattr(getattr(self.model, "optim", None), "base_lr", None),
            notes=notes,
        )
        rank_zero_only(print if self.as_json else Plan.show)(plan.to_json() if self.as_json else plan)

    def _aside(self) -> Any:
        """What is said meanwhile goes to standard error where JSON is asked for."""
        return redirect_stdout(sys.stderr) if self.as_json else nullcontext()

    def _notes(self) -> tuple[str, ...]:
        one, notes = self.processes, []
        if not one.here:
            notes.append(f"This machine has no {one.kind}: time and memory were measured on its CPU.")
            if self.asked_precision == AUTO:
                notes.append(f"Precision `auto` is decided where the run is; {one.kind} may decide otherwise.")
        if one.world > 1:
            notes.append("Time is that of one device alone, without what processes exchange.")
        if one.sharded:
            notes.append("Weights, gradients and the optimiser are counted as cut into a part per process.")
        if self.left_out:
            notes.append(f"Not measured, as callbacks write: {', '.join(self.left_out)}.")
        stage = getattr(self.model, "first_stage", None)
        if stage is not None and stage.run is not None:
            stage.ensure = lambda model: None  # trains it, which takes hours
            if not is_finished(stage.run) and stage.recipe is not None:
                self.measuring.num_batches = 0
                notes.append(
                    f"The first stage is not finished, so no batch is run: `unmask fit` first trains {stage.recipe} "
                    f"(`unmask plan {stage.recipe}`)."
                )
        return tuple(notes)

    def _check_counted(self) -> None:
        """Lightning itself splits the data of other modules, where there are several processes in fact."""
        loader = self.trainer.train_dataloader
        splits = isinstance(self.datamodule, MaskedDataModule) or isinstance(
            getattr(loader, "dataset", None), IterableDataset
        )
        if self.processes.world > 1 and not splits:
            raise UserError(
                f"`--data` must be a MaskedDataModule to plan for several processes, but is a "
                f"{type(self.datamodule).__name__}, whose samples Lightning splits when they run."
            )

    def _batch(self) -> Batch | None:
        for name, unit in BATCHES.items():
            size = getattr(self.datamodule, name, None)
            if isinstance(size, int):
                counted = unit or str(getattr(self.datamodule, "sample_name", "samples"))
                accumulated = self.measuring.figures.accumulated
                return Batch(size, counted, f"data.{name}", self.processes.world, accumulated)
        return None

    def _own_effective(self) -> int | None:
        """Of the recipe, on one device unless it says how many."""
        batch = self._batch()
        if batch is None:
            return None
        if self.own_config is self.config and self.config.trainer.devices != "auto":
            return batch.effective
        data = self.own_config.data.get("init_args") or {}
        size = data.get(batch.option.removeprefix("data."))
        if not isinstance(size, int):
            return None
        trainer = self.own_config.trainer
        return size * _processes(trainer, auto=1).world * trainer.accumulate_grad_batches


def without(options: tuple[str, ...], words: list[str]) -> list[str]:
    """A command line without these options and their values."""
    kept = []
    for before, word in pairwise(["", *words]):
        option, value_follows = word.partition("=")[0], before in options
        if option not in options and not value_follows:
            kept.append(word)
    return kept


def _processes(trainer: Any, auto: int | None = None) -> Processes:
    return processes_of(trainer.accelerator, trainer.devices, trainer.num_nodes, trainer.strategy, auto)


def _num_samples(datamodule: Any) -> int | None:
    if not isinstance(datamodule, MaskedDataModule):
        return None
    return len(datamodule.splits.train)  # type: ignore[arg-type]
