"""A run read back from its folder: model, data and checkpoint, without running code from any of its files.

Every command that looks at a trained model starts here. Weights are read with `weights_only`, and
must fit the model that ``config.yaml`` describes.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from torch import nn

from unmask.cli.errors import Parser, explain, is_mistake, plain
from unmask.cli.names import registered_names
from unmask.data import MaskedDataModule
from unmask.exchange.files import read_torch
from unmask.exchange.strict import compare
from unmask.model import MaskedModel
from unmask.nearest import nearest, quoted
from unmask.plugins import UserError


@dataclass(frozen=True)
class Trained:
    """A run.

    Args:
        folder: with ``config.yaml``, where results of commands are written.
        checkpoint: the file that the weights were read from.
        model: in evaluation mode, with those weights.
        untrained: the same model as it was initialised.
        datamodule: the run's own data, or the data asked for instead.
        seed: of the run.
        step: optimiser steps done.
    """

    folder: Path
    checkpoint: Path
    model: MaskedModel
    untrained: MaskedModel
    datamodule: MaskedDataModule
    seed: int
    step: int

    @property
    def about(self) -> str:
        """One line for captions."""
        return f"{type(self.model).__name__} after {self.step:,} steps (seed {self.seed}), from {self.checkpoint}."


def load_run(path: Path | str, data: Path | str | None = None) -> Trained:
    """Read a run back.

    Args:
        path: a run folder (its newest checkpoint counts, `last` before others), or a checkpoint in one.
        data: a YAML file whose ``data`` replaces the run's own.

    Raises:
        UserError: no such run; a file that is cut off, no checkpoint, or holds more than weights; weights
            that do not fit the model; a config that cannot be used.
    """
    folder, file = locate(Path(path))
    config = folder / "config.yaml"
    if data is not None and not Path(data).is_file():
        raise UserError(f"There is no file `{data}`; `--data` must be a YAML file.")
    checkpoint = read_checkpoint(file)
    seed, step = (_number(file, checkpoint, key) for key in ("seed", "global_step"))
    model, datamodule = build(config, seed, Path(data) if data else None)
    untrained = copy.deepcopy(model)
    load_weights(model, checkpoint["state_dict"], f"`{file}`", f"`{config}`")
    return Trained(folder, file, model.eval(), untrained.eval(), datamodule, seed, step)


def locate(path: Path) -> tuple[Path, Path]:
    """The run folder and the checkpoint that ``path`` means.

    Raises:
        UserError: there is no such run; names those that are most like it.
    """
    if path.is_file():
        for folder in path.absolute().parents[:2]:
            if (folder / "config.yaml").is_file():
                return folder, path
        raise UserError(f"`{path}` must lie in a run folder with a `config.yaml`, but there is none above it.")
    if not path.is_dir():
        siblings = [str(one) for one in path.parent.iterdir() if one.is_dir()] if path.parent.is_dir() else []
        near = nearest(str(path), siblings)
        raise UserError(f"There is no run `{path}`" + (f"; nearest: {quoted(near)}." if near else "."))
    checkpoints = sorted(
        (path / "checkpoints").glob("*.ckpt"), key=lambda one: (one.stem == "last", one.stat().st_mtime)
    )
    missing = "config.yaml" if not (path / "config.yaml").is_file() else None if checkpoints else "checkpoints/*.ckpt"
    if missing:
        runs = sorted({str(found.parent) for found in path.rglob("config.yaml")} - {str(path)})[:3]
        hint = f"; runs below it: {quoted(runs)}" if runs else ""
        raise UserError(f"`{path}` must be a run folder, but has no `{missing}`{hint}.")
    return path, checkpoints[-1]


def read_checkpoint(path: Path, *keys: str) -> dict[str, Any]:
    """Weights and counters, without running any code that the file may hold.

    Args:
        path: a file that Lightning wrote.
        keys: entries that it must have; none: those of a run of a `MaskedModel`.

    Raises:
        UserError: the file is empty, cut off, asks to run code, or is no checkpoint of ``unmask fit``.
    """
    checkpoint = read_torch(path)
    keys = keys or ("state_dict", "seed", "global_step")
    lacking = [key for key in keys if not isinstance(checkpoint, dict) or key not in checkpoint]
    if lacking:
        raise UserError(
            f"`{path}` must be a checkpoint of `unmask fit`, but has no {quoted(lacking)}; `unmask import` reads bare "
            "weights."
        )
    if not isinstance(checkpoint["state_dict"], dict):
        raise UserError(f"`{path}` must hold weights by name under `state_dict`, but does not.")
    return dict(checkpoint)


def check_resumable(model: L.LightningModule, path: Path, training: bool) -> None:
    """Refuses a checkpoint that Lightning could not load into ``model``, before it tries.

    Args:
        model: as configured.
        path: the checkpoint.
        training: whether the run is to go on, with the optimiser's state, or is only looked at.

    Raises:
        UserError: it cannot be read, lacks something, or holds weights of another model.
    """
    keys = ["state_dict", *(["seed"] if isinstance(model, MaskedModel) else [])]
    keys += ["optimizer_states", "lr_schedulers"] if training else []
    checkpoint = read_checkpoint(path, *keys, "pytorch-lightning_version")
    if model.strict_loading:
        _must_fit(model, checkpoint["state_dict"], f"`{path}`", "the config")


def build(config: Path, seed: int, data: Path | None = None) -> tuple[MaskedModel, MaskedDataModule]:
    """A freshly initialised model and its data module.

    Args:
        config: a YAML file with ``model`` and ``data``, such as a run's or a recipe's.
        seed: of the initialisation.
        data: a YAML file whose ``data`` to take instead.

    Raises:
        UserError: a file that is not YAML, lacks an entry or names what cannot be built.
    """
    parts, files = {}, dict.fromkeys((config, data or config))
    for name, file in (("model", config), ("data", data or config)):
        try:
            content = yaml.safe_load(file.read_text("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise UserError(f"`{file}` is not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict) or name not in content:
            raise UserError(f"`{file}` must have a `{name}` entry, but has none.")
        parts[name] = content[name]
    parser = Parser(exit_on_error=False)
    parser.add_lightning_class_args(L.LightningModule, "model", subclass_mode=True)
    parser.add_lightning_class_args(L.LightningDataModule, "data", subclass_mode=True)
    try:
        with registered_names(Parser.failures), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            built = parser.instantiate(parser.parse_object(parts))
    except argparse.ArgumentError as error:
        raise UserError(f"{' and '.join(f'`{file}`' for file in files)}: {explain(error, (), ())}") from error
    except Exception as error:
        if is_mistake(error, running=False):
            raise UserError(plain(error)) from error
        raise
    return built["model"], built["data"]


def load_weights(module: nn.Module, state: dict[str, torch.Tensor], source: str, target: str) -> None:
    """Load strictly.

    Args:
        module: what to load into.
        state: by parameter name.
        source: what the weights are called in a message.
        target: what the module is called in a message.

    Raises:
        UserError: tensors are missing, unknown, or of another shape.
    """
    _must_fit(module, state, source, target)
    module.load_state_dict(state, strict=True)


def _must_fit(module: nn.Module, state: dict[str, Any], source: str, target: str) -> None:
    given = {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
    report = compare(module, given)
    if not report.fits:
        raise UserError(f"The weights of {source} do not fit the model of {target}: {report}.")


def _number(file: Path, checkpoint: dict[str, Any], key: str) -> int:
    value = checkpoint[key]
    if not isinstance(value, int):
        raise UserError(f"`{file}` must have a whole number as `{key}`, but has {value!r:.50}.")
    return value
