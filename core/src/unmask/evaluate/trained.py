"""A run read back from its folder: model, data and checkpoint, without running code from any of its files.

Every command that looks at a trained model starts here. Weights are read with `weights_only`, and
must fit the model that ``config.yaml`` describes.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn

from unmask import agreements
from unmask.cli.errors import Parser, explain, is_mistake, plain
from unmask.cli.names import registered_names
from unmask.compiled import names_for, plain_names
from unmask.configs import read_yaml
from unmask.data import MaskedDataModule
from unmask.exchange.files import read_torch
from unmask.exchange.strict import compare
from unmask.model import MaskedModel
from unmask.nearest import nearest, quoted
from unmask.plugins import UserError
from unmask.run_folders import newest_checkpoint, the_one_before


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
        path: a run folder, whose `newest_checkpoint` counts, or a checkpoint in one.
        data: a YAML file whose ``data`` replaces the run's own.

    Raises:
        UserError: no such run; a file that is cut off, no checkpoint, or holds more than weights; weights
            that do not fit the model; a config that cannot be used; data that the model does not go with.
    """
    folder, file = locate(Path(path))
    config = folder / "config.yaml"
    if data is not None and not Path(data).is_file():
        raise UserError(f"There is no file `{data}`; `--data` must be a YAML file.")
    checkpoint = read_checkpoint(file)
    seed, step = (_number(file, checkpoint, key) for key in ("seed", "global_step"))
    model, datamodule = build(config, seed, Path(data) if data else None)
    model.agreed.update(checkpoint.get("agreed", {}))
    try:
        agreements.check(model, datamodule, loaded=False)  # `data` may be any
    except ValueError as error:
        raise UserError(plain(error)) from error
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
    checkpoint = newest_checkpoint(path)
    missing = "config.yaml" if not (path / "config.yaml").is_file() else None if checkpoint else "checkpoints/*.ckpt"
    if missing:
        runs = sorted({str(found.parent) for found in path.rglob("config.yaml")} - {str(path)})[:3]
        hint = f"; runs below it: {quoted(runs)}" if runs else ""
        raise UserError(f"`{path}` must be a run folder, but has no `{missing}`{hint}.")
    assert checkpoint is not None
    return path, checkpoint


def read_checkpoint(path: Path, *keys: str) -> dict[str, Any]:
    """Weights and counters, without running any code that the file may hold.

    Args:
        path: a file that Lightning wrote.
        keys: entries that it must have; none: those of a run of a `MaskedModel`.

    Raises:
        UserError: the file is empty, cut off, damaged, asks to run code, is no checkpoint of ``unmask fit``, or holds
            weights that are not finite.
    """
    checkpoint = read_torch(path)
    _must_have(path, checkpoint, keys or ("state_dict", "seed", "global_step"))
    return checkpoint | {"state_dict": plain_names(checkpoint["state_dict"])}


def _must_have(path: Path, checkpoint: Any, keys: Sequence[str]) -> None:
    lacking = [key for key in keys if not isinstance(checkpoint, dict) or key not in checkpoint]
    if lacking:
        raise UserError(
            f"`{path}` must be a checkpoint of `unmask fit`, but has no {quoted(lacking)}; `unmask import` reads bare "
            "weights."
        )
    if not isinstance(checkpoint["state_dict"], dict):
        raise UserError(f"`{path}` must hold weights by name under `state_dict`, but does not.")
    finite = torch.isfinite if "seed" in keys else _is_number  # models of others may have infinite constants
    tensors = {name: x for name, x in checkpoint["state_dict"].items() if isinstance(x, torch.Tensor)}
    if odd := [name for name, x in tensors.items() if x.is_floating_point() and not bool(finite(x).all())]:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise UserError(f"`{path}` is of no use: its `{odd[0]}`{more} is not finite{the_one_before(path)}.")


def check_resumable(model: L.LightningModule, path: Path, training: bool, checkpoint: Any = None) -> None:
    """Refuses a checkpoint that Lightning could not load into ``model``, before it tries.

    Args:
        model: as configured.
        path: the checkpoint.
        training: whether the run is to go on, with the optimiser's state, or is only looked at.
        checkpoint: what the file holds; None: it is read.

    Raises:
        UserError: it cannot be read, lacks something, or holds weights of another model.
    """
    keys = ["state_dict", *(["seed"] if isinstance(model, MaskedModel) else [])]
    keys += ["optimizer_states", "lr_schedulers"] if training else []
    checkpoint = read_torch(path) if checkpoint is None else checkpoint
    _must_have(path, checkpoint, [*keys, "pytorch-lightning_version"])
    for key in ("seed", "global_step", "epoch"):
        if key in checkpoint:
            _number(path, checkpoint, key)
    if model.strict_loading:
        _must_fit(model, names_for(model.state_dict(), checkpoint["state_dict"]), f"`{path}`", "the config")


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
        content = read_yaml(file)
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
    """Loads all weights of a file into a module that has exactly those, of the same shapes; else refuses.

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


def _is_number(tensor: torch.Tensor) -> torch.Tensor:
    return ~tensor.isnan()


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
