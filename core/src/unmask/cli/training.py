"""``unmask fit | validate | test | predict``: Lightning's command line, with registered names.

``--config`` takes a recipe's name or a file, and may be repeated: later ones override. ``--out DIR``
is short for ``--trainer.default_root_dir DIR``, the run folder, by default ``runs/`` and the recipe's
name (see `unmask.run_folders`). ``--ckpt_path last`` carries on the newest run in that folder.
"""

from __future__ import annotations

import argparse
import logging
import signal
import warnings
from collections.abc import Callable
from importlib import util
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from unmask import plugins
from unmask.callbacks.collapse_monitor import CollapseMonitor
from unmask.callbacks.pictures import Pictures
from unmask.callbacks.progress import ProgressBar as Progress
from unmask.cli import GOOD, complain
from unmask.cli.environment import Environment
from unmask.cli.errors import Parser, explain, is_mistake, keys_of, plain
from unmask.cli.names import registered_names
from unmask.cli.runs import MetricsFile, RunFolder
from unmask.evaluate.trained import check_resumable
from unmask.model import MaskedModel
from unmask.nearest import nearest, quoted
from unmask.run_folders import holds_a_run, newest_checkpoint, run_folder

_QUIET = (
    r".*does not have many workers which may be a bottleneck.*",
    r".*is smaller than the logging interval.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*The dirpath has changed from.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*module\(s\) in eval mode at the start of training.*",  # a teacher always is
    r".*when using `ckpt_path`, callbacks used to create the checkpoint need to be provided.*",  # not to validate
)
"""Warnings about nothing that went wrong, or that the user of a command cannot act on."""


def run(command: str, arguments: list[str], kind: Callable[..., Training] | None = None) -> int:
    """Parse, build, and run as ``kind`` does it, by default `Training`; see the module's docstring."""
    words, base = _prepare(arguments)
    Parser.failures.clear()
    broken: list[Exception] = []
    interrupt = signal.getsignal(signal.SIGINT)
    _quieten()
    cli = None
    try:
        with registered_names(Parser.failures):
            cli = (kind or Training)(command, words, base, broken, given=["unmask", command, *arguments])
            cli.go()
    except argparse.ArgumentError as error:
        raise plugins.UserError(explain(error, words, _chosen_keys(words))) from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # how Lightning ends after Ctrl-C
            raise KeyboardInterrupt from error
        return GOOD if error.code in (None, 0) else int(error.code)  # after --help and --print_config
    except Exception as error:
        cause = broken[-1] if broken and cli is None else error
        if is_mistake(cause, running=cli is not None and cli.running):
            raise plugins.UserError(plain(cause)) from cause
        if cause is not error:  # a union has buried it
            raise cause from None
        raise
    finally:
        signal.signal(signal.SIGINT, interrupt)
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
        super().__init__(
            L.LightningModule,
            L.LightningDataModule,
            save_config_callback=None,
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
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="A checkpoint file, or `last`.")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)

    def _instantiate(self, cls: type, *args: Any, **kwargs: Any) -> Any:
        try:
            return cls(*args, **kwargs)
        except Exception as error:
            self.broken.append(error)
            raise

    def before_instantiate_classes(self) -> None:
        """Decide the run folder and the checkpoint, before anything is built."""
        config = self.config.clone()
        config["ckpt_path"] = None  # so that the saved config starts a run of its own
        self.config_text = self.parser.dump(config, skip_validation=True, skip_unset=False)

        root = self.config.trainer.default_root_dir
        base = Path(root) if root else self.base or Path("runs", _model_name(self.config.model.class_path))
        resume = self.config.ckpt_path == "last" or self.command != "fit"
        configs = [Path(config).absolute() for config in self.config.config or []]
        inside = any(config.parent == base.absolute() for config in configs)  # that very run is meant
        self.folder = base if resume and inside else run_folder(base, resume)
        self.config.trainer.default_root_dir = str(self.folder)
        self.config.ckpt_path = self._checkpoint(self.config.ckpt_path)

    def _checkpoint(self, given: str | None) -> str | None:
        if given is None:
            return None
        if given != "last":
            if Path(given).is_dir():
                raise plugins.UserError(f"`--ckpt_path` must be a file or `last`, but `{given}` is a folder.")
            if not Path(given).is_file():
                raise plugins.UserError(_no_file("ckpt_path", given))
            return given
        found = newest_checkpoint(self.folder)
        if found is None and self.command != "fit":
            raise plugins.UserError(f"`ckpt_path` is 'last', but there is no checkpoint in {self.folder}/checkpoints.")
        if found is None:
            complain(f"No checkpoint in {self.folder}/checkpoints yet: starting from scratch.")
        return str(found) if found else None

    def instantiate_classes(self) -> None:
        self.config_init = self.parser.instantiate(self.config, instantiators=[(self._instantiate, object, True)])
        self.datamodule, self.model = self.config_init["data"], self.config_init["model"]
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        given = dict(self.config_init["trainer"])
        callbacks = given["callbacks"] or []
        callbacks = list(callbacks) if isinstance(callbacks, list) else [callbacks]
        writes = self.command == "fit" and not given["fast_dev_run"]

        if given["log_every_n_steps"] is None:
            given["log_every_n_steps"] = 10  # Lightning's 50 leaves a short run without a row
        if given["enable_model_summary"] is None:
            given["enable_model_summary"] = False  # `go` says what a user wants of it
        if given["logger"] is None or given["logger"] is True:
            given["logger"] = self._loggers() if writes else False
        if writes:
            callbacks += [RunFolder(self.folder, self.config_text), Environment(self.folder, self.given)]
        if writes and given["enable_checkpointing"] is not False and not _has(callbacks, ModelCheckpoint):
            callbacks.append(
                ModelCheckpoint(
                    dirpath=(self.folder / "checkpoints").absolute(),
                    filename="last",
                    enable_version_counter=False,  # written over, atomically, every epoch
                    save_on_train_epoch_end=True,
                )
            )
        if given["enable_progress_bar"] is not False and not _has(callbacks, ProgressBar):
            callbacks.append(Progress())
        if writes and isinstance(self.model, MaskedModel) and not _has(callbacks, Pictures):
            callbacks.append(Pictures())
        if writes and isinstance(self.model, MaskedModel) and not _has(callbacks, CollapseMonitor):
            callbacks.append(CollapseMonitor())
        return self.trainer_class(**{**given, "callbacks": [*callbacks, self.started], **kwargs})

    def _loggers(self) -> list[Logger]:
        loggers: list[Logger] = [MetricsFile(self.folder)]
        if util.find_spec("tensorboard"):
            loggers.append(TensorBoardLogger(str(self.folder), name="", version="tensorboard"))
        return loggers

    def go(self) -> None:
        """Run the command."""
        path = self.config.ckpt_path
        if path is not None and Path(path).is_file():  # a sharded one is a folder
            check_resumable(self.model, Path(path), training=self.command == "fit")
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


class _Started(L.Callback):
    """Notes when set-up is over and batches begin."""

    yes = False

    def _begin(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.yes = True

    on_sanity_check_start = on_train_start = _begin
    on_validation_start = on_test_start = on_predict_start = _begin


def _prepare(arguments: list[str]) -> tuple[list[str], Path | None]:
    """Recipes as paths, ``--out`` at length, and the run folder that the first config asks for."""
    words: list[str] = []
    base = None
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        option, equals, value = word.partition("=")
        if option in ("--config", "-c", "--out"):
            if not equals and (not rest or rest[0].startswith("--")):
                raise plugins.UserError(f"`{option}` needs a value.")
            value = value if equals else rest.pop(0)
            if option == "--out":
                words.append(f"--trainer.default_root_dir={value}")
                continue
            path, folder = _config(value)
            base = base or folder
            words.append(f"--config={path}")
        else:
            words.append(word)
    return words, base


def _config(given: str) -> tuple[Path, Path]:
    """The file of a recipe or config, and the folder for runs of it: its own if it lies in one."""
    path = Path(given)
    folder = path.parent if holds_a_run(path.parent) else Path("runs", path.stem)
    if not path.is_file():
        if path.suffix in (".yaml", ".yml", ".json"):
            raise plugins.UserError(_no_file("config", given))
        path, folder = plugins.find(given, plugins.RECIPES).path(), Path("runs", given)
    try:
        parsed = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise plugins.UserError(f"`{given}` is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(parsed, dict):
        raise plugins.UserError(f"`{given}` must hold keys such as `model` and `data`, but holds none.")
    return path, folder


def _no_file(option: str, given: str) -> str:
    folder = Path(given).parent
    near = nearest(Path(given).name, [p.name for p in folder.iterdir()]) if folder.is_dir() else []
    hint = f"nearest: {quoted(str(folder / n) for n in near)}" if near else f"nothing in `{folder}` is like it"
    return f"`--{option}`: there is no file `{given}`; {hint}."


def _chosen_keys(words: list[str]) -> list[str]:
    """Keys of the model and data classes that the command line or its configs name."""
    chosen: dict[str, Any] = {}
    for word, following in pairwise([*words, ""]):
        option, equals, value = word.partition("=")
        if option == "--config":
            parsed = yaml.safe_load(Path(value).read_text())
            chosen |= {key: parsed[key] for key in ("model", "data") if key in parsed}
        elif option in ("--model", "--data"):
            chosen[option[2:]] = value if equals else following
    keys = []
    for key, value in chosen.items():
        class_name = value.get("class_path") if isinstance(value, dict) else value
        found = plugins.matches(class_name) if isinstance(class_name, str) else []
        if len(found) == 1:
            keys += [f"{key}.{k}" for k in keys_of(found[0].load())]
    return keys


def _model_name(class_path: str) -> str:
    name = class_path.rpartition(".")[2]  # the path may be a package's shorter one
    found = plugins.matches(class_path) or plugins.matches(name)
    return found[0].name.replace(".", "/") if found else name


def _has(callbacks: list[Any], cls: type) -> bool:
    return any(isinstance(callback, cls) for callback in callbacks)


def _quieten() -> None:
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    for message in _QUIET:
        warnings.filterwarnings("ignore", message)
