"""``unmask fit | validate | test | predict``: Lightning's command line, with registered names.

``--config`` takes a recipe's name or a file, and may be repeated: later ones override. ``--out DIR``
is short for ``--trainer.default_root_dir DIR``, the run folder, by default ``runs/`` and the recipe's
name (see `unmask.runs.folders`). ``--ckpt_path last`` carries on the newest run in that folder.
"""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from filelock import FileLock
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from unmask import agreements
from unmask.callbacks.collapse_monitor import CollapseMonitor
from unmask.callbacks.pictures import Pictures
from unmask.cli import exit_code
from unmask.cli.precision import settle
from unmask.cli.trainer import Trainer
from unmask.cli.words import chosen_keys, no_file, prepared
from unmask.configs.errors import Parser, explain, is_mistake, message_of, missing_package
from unmask.configs.names import registered_names
from unmask.model import MaskedModel
from unmask.plugins import registry
from unmask.runs.amended import amended
from unmask.runs.changes import Before, not_resumable
from unmask.runs.checkpoints import check_resumable, with_whole_checkpoints
from unmask.runs.environment import Environment
from unmask.runs.folders import claim, is_sharded, newest_checkpoint, release, run_folder
from unmask.runs.launched import SameOnAll, on_all
from unmask.runs.loggers import loggers
from unmask.runs.not_finite import STOP, NotFinite
from unmask.runs.records import RunFolder
from unmask.runs.requeueing import Requeues
from unmask.runs.saving import kept, saving
from unmask.runs.stopping import StopsOnSigterm
from unmask.runs.weights import read_outline
from unmask.support.atomic import is_full
from unmask.support.errors import GOOD, UserError, complain
from unmask.training import block_options
from unmask.training.progress_bar import ProgressBar as Progress
from unmask.training.quiet import quiet
from unmask.training.resuming import ExactResume


def run(command: str, arguments: list[str], kind: Callable[..., Training] | None = None) -> int:
    """Parse, build, and run as ``kind`` does it, by default `Training`; see the module's docstring."""
    words, base = prepared(arguments)
    Parser.failures.clear()
    broken: list[Exception] = []
    interrupt = signal.getsignal(signal.SIGINT)
    cli = None
    try:
        with quiet(), registered_names(Parser.failures):
            cli = (kind or Training)(command, words, base, broken, given=["unmask", command, *arguments])
            cli.go()
    except argparse.ArgumentError as error:
        raise UserError(explain(error, words, chosen_keys(words))) from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # how Lightning ends after Ctrl-C
            raise KeyboardInterrupt from error
        return exit_code(error)
    except Exception as error:
        _end_others(cli)
        cause = broken[-1] if broken and cli is None else error
        if isinstance(cause, UserError):
            raise cause from cause.__cause__
        if full := is_full(error):
            folder = getattr(cli, "folder", base)
            raise OSError(full.errno, f"{full.strerror}{kept(folder)}", full.filename or str(folder)) from error
        if cli is not None and (told := not_resumable(error, cli.config.ckpt_path)):
            raise told from error
        if is_mistake(cause, running=cli is not None and cli.running):
            raise UserError(message_of(cause)) from cause
        if cause is not error:  # a union has buried it
            raise cause from cause.__cause__
        raise
    finally:
        if threading.current_thread() is threading.main_thread():  # a worker of Ray's is not
            signal.signal(signal.SIGINT, interrupt)
        if cli is not None:
            cli.release()
    return GOOD


class Training(LightningCLI):
    """One parse, one model, one data module, one trainer.

    Args:
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        words: the command line after the command, with recipes as paths.
        base: where to write unless the config says so; None: `runs/` and the model's name.
        broken: collects what constructors raise, which unions would bury.
        given: the command line as it was typed.
    """

    def __init__(
        self, command: str, words: list[str], base: Path | None, broken: list[Exception], given: list[str]
    ) -> None:
        self.command, self.base, self.broken, self.given = command, base, broken, given
        self.started = _Started()
        self.lock: FileLock | None = None
        self.before: Before | None = None
        self.checkpoint: Any = None
        super().__init__(
            L.LightningModule,
            L.LightningDataModule,
            save_config_callback=None,
            trainer_class=Trainer,
            seed_everything_default=0,
            parser_class=Parser,
            parser_kwargs={
                "prog": f"unmask {command}",
                "description": "Options come from a recipe (--config), then from here. Names: `unmask list`.",
                "exit_on_error": False,
                "allow_abbrev": False,
            },
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=words,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    @property
    def running(self) -> bool:
        """Whether the first batch has been asked for."""
        return self.started.yes

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        add_options(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)
        for line in agreements.fill(self.config.model, self.config.data):
            rank_zero_only(print)(line, flush=True)

    def _instantiate(self, cls: type, *args: Any, **kwargs: Any) -> Any:
        try:
            return cls(*args, **kwargs)
        except Exception as error:
            missing = missing_package(error)
            self.broken.append(UserError(message_of(error, cls.__name__)) if missing else error)
            raise

    def before_instantiate_classes(self) -> None:
        """Decide the run folder and the checkpoint, before anything is built."""
        self.config.trainer.precision = settle(self.config.trainer.precision, self.config.trainer.accelerator)
        root = self.config.trainer.default_root_dir
        base = Path(root) if root else self.base or Path("runs", _model_name(self.config.model.class_path))
        resume = self.config.ckpt_path == "last" or self.command != "fit"
        configs = [Path(config).absolute() for config in self.config.config or []]
        inside = any(config.parent == base.absolute() for config in configs)  # that very run is meant
        self.folder = base if resume and inside else run_folder(base, resume)
        self.aim, self.resumes = self.folder if resume else base, resume
        self.config.ckpt_path = self._checkpoint(self.config.ckpt_path)
        self._take_from_checkpoint()

        config = self.config.clone()
        config["ckpt_path"] = None  # so that the saved config starts a run of its own
        self.config_text = self.parser.dump(config, skip_validation=True, skip_unset=False)
        self.config.trainer.default_root_dir = str(self.folder)

    def _checkpoint(self, given: str | None) -> str | None:
        if given is None:
            return None
        if given != "last":
            if Path(given).is_dir() and not is_sharded(Path(given)):
                raise UserError(f"`--ckpt_path` must be a checkpoint or `last`, but `{given}` is a folder without one.")
            if not Path(given).exists():
                raise UserError(no_file("ckpt_path", given))
            return given
        found = newest_checkpoint(self.folder)
        if found is None and self.command != "fit":
            raise UserError(f"`ckpt_path` is 'last', but there is no checkpoint in {self.folder}/checkpoints.")
        if found is None:
            rank_zero_only(complain)(f"No checkpoint in {self.folder}/checkpoints yet: starting from scratch.")
        return str(found) if found else None

    def _take_from_checkpoint(self) -> None:
        """Of a run that is carried on, the options it had, and its seed in place of the one given."""
        if self.command != "fit" or self.config.ckpt_path is None:
            return
        self.checkpoint = read_outline(Path(self.config.ckpt_path))
        self.before = Before.of(Path(self.config.ckpt_path), self.checkpoint, self.config.seed_everything)
        if self.before.seed != self.config.seed_everything:
            self.config.seed_everything = self.before.seed
            self._set_seed()

    def instantiate_classes(self) -> None:
        self.config_init = self.parser.instantiate(self.config, instantiators=[(self._instantiate, object, True)])
        self.datamodule, self.model = self.config_init["data"], self.config_init["model"]
        if self.command == "fit":  # before there is a run folder, whose config says what is used
            agreements.check(self.model, self.datamodule, loaded=False)
            block_options.check_options(self.config, self.model)
            self.config_text = amended(self.config_text, self.model, self.datamodule)
        if self.command == "fit" and not self.config.trainer.fast_dev_run:
            self.folder, self.lock = claim(self.aim, self.resumes)
            self.config_init["trainer"]["default_root_dir"] = str(self.folder)
        try:
            self.trainer = self.instantiate_trainer()
        except BaseException:
            self.release()
            raise

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        given = dict(self.config_init["trainer"])
        given |= on_all(given["devices"], given["num_nodes"])
        callbacks = given["callbacks"] or []
        callbacks = list(callbacks) if isinstance(callbacks, list) else [callbacks]
        writes = self.command == "fit" and not given["fast_dev_run"]

        if given["log_every_n_steps"] is None:
            given["log_every_n_steps"] = 10  # Lightning's 50 leaves a short run without a row
        if given["enable_model_summary"] is None:
            given["enable_model_summary"] = False  # `go` says what a user wants of it
        given["logger"] = loggers(given["logger"], self.folder, writes)
        if writes:
            given["plugins"] = with_whole_checkpoints(given["plugins"], given["strategy"])
            callbacks += [RunFolder(self.folder, self.config_text), Environment(self.folder, self.given)]
            callbacks += [SameOnAll(self.folder, self._adopt), Requeues()]
            callbacks.append(StopsOnSigterm(self.folder, saves=given["enable_checkpointing"] is not False))
            callbacks.append(NotFinite(self.folder, self.config.not_finite))
            if not isinstance(self.model, MaskedModel):  # which brings it
                callbacks.append(ExactResume())
        if self.command == "fit":
            callbacks += block_options.callbacks_for(self.config, self.folder, writes)
        if writes:
            saves = given["enable_checkpointing"] is not False
            callbacks += saving(self.folder, self.config.checkpoint_every, callbacks, saves)
        if given["enable_progress_bar"] is not False and not _has(callbacks, ProgressBar):
            callbacks.append(Progress())
        if writes and isinstance(self.model, MaskedModel) and not _has(callbacks, Pictures):
            callbacks.append(Pictures())
        if writes and isinstance(self.model, MaskedModel) and not _has(callbacks, CollapseMonitor):
            callbacks.append(CollapseMonitor())
        return self.trainer_class(**{**given, "callbacks": [*callbacks, self.started], **kwargs})

    def _adopt(self, folder: Path) -> None:
        self.folder = folder

    def release(self) -> None:
        """Let others write to the run folder."""
        if self.lock is not None:
            release(self.lock)

    def go(self) -> None:
        """Run the command."""
        path = self.config.ckpt_path
        if path is not None and Path(path).exists():
            check_resumable(self.model, Path(path), self.command == "fit", self.checkpoint)
            self.checkpoint = None
        if self.before is not None and (told := self.before.told(self.config_text)) and self.trainer.is_global_zero:
            print(told, flush=True)
        if self.command == "fit" and self.trainer.is_global_zero:
            trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
            print(f"Run folder: {self.folder} ({trained:,} trainable parameters)", flush=True)
        run = getattr(self.trainer, self.command)
        outputs = run(self.model, datamodule=self.datamodule, ckpt_path=path, weights_only=True)
        if self.command == "predict" and self.trainer.is_global_zero:
            vectors = torch.cat([output.float().cpu() for output in outputs])  # [n, D]
            self.folder.mkdir(parents=True, exist_ok=True)
            np.save(self.folder / "predictions.npy", vectors.numpy())
            print(f"{len(vectors)} vectors of width {vectors.shape[1]}: {self.folder / 'predictions.npy'}")


def _end_others(cli: Training | None) -> None:
    """Ends the processes that this one started: they would wait for one that has failed."""
    strategy = getattr(getattr(cli, "trainer", None), "strategy", None)
    if (launcher := getattr(strategy, "launcher", None)) is not None:
        launcher.kill(signal.SIGKILL)


def add_options(parser: LightningArgumentParser) -> None:
    """Options of the run itself, beside those of model, data and trainer."""
    parser.add_argument("--ckpt_path", type=str | None, default=None, help="A checkpoint, or `last`.")
    parser.add_argument(
        "--checkpoint_every", type=str | None, default=None, help="`500 steps`, `20 minutes`, `2 epochs`; 1 epoch."
    )
    parser.add_argument("--not_finite", type=str, default=STOP, help="Of a loss that is NaN: `stop`, or `skip` it.")
    block_options.add_options(parser)


class _Started(L.Callback):
    """Notes when set-up is over and batches begin."""

    yes = False

    def _begin(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.yes = True

    on_sanity_check_start = on_train_start = _begin
    on_validation_start = on_test_start = on_predict_start = _begin


def _model_name(class_path: str) -> str:
    name = class_path.rpartition(".")[2]  # the path may be a package's shorter one
    found = registry.matches(class_path) or registry.matches(name)
    return found[0].name.replace(".", "/") if found else name


def _has(callbacks: list[Any], cls: type) -> bool:
    return any(isinstance(callback, cls) for callback in callbacks)
