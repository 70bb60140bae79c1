"""A run read back from its folder: model, data and checkpoint, without running code from any of its files.

Every command that looks at a trained model starts here. Weights are read with `weights_only`, and
must fit the model that ``config.yaml`` describes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unmask import agreements
from unmask.configs.building import build
from unmask.configs.errors import message_of
from unmask.data import MaskedDataModule
from unmask.model import MaskedModel
from unmask.of_parts import ModelOfParts
from unmask.runs.checkpoints import read_checkpoint, whole_number
from unmask.runs.folders import is_sharded, newest_checkpoint
from unmask.runs.match import load_weights
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted


@dataclass(frozen=True)
class Run:
    """A run.

    Args:
        folder: with ``config.yaml``, where results of commands are written.
        checkpoint: the file that the weights were read from.
        model: in evaluation mode, with those weights.
        untrained: the same model as it was initialised.
        datamodule: the run's own data, or the data asked for instead.
        seed: of the run.
        step: optimiser steps done.
        method: the name of its class; empty: the model's.
    """

    folder: Path
    checkpoint: Path
    model: MaskedModel
    untrained: MaskedModel
    datamodule: MaskedDataModule
    seed: int
    step: int
    method: str = ""

    def __post_init__(self) -> None:
        if not self.method:
            object.__setattr__(self, "method", type(self.model).__name__)

    @property
    def about(self) -> str:
        """One line for captions."""
        parts = f", parts {', '.join(self.model.names)}" if isinstance(self.model, ModelOfParts) else ""
        return f"{self.method} after {self.step:,} steps (seed {self.seed}){parts}, from {self.checkpoint}."

    def of(self, parts: Sequence[str] | None, apart: bool = False) -> Run:
        """The same run, of whose samples only some parts are used; None: as the method uses them.

        Args:
            parts: their names.
            apart: as of `ModelOfParts`.

        Raises:
            UserError: samples without parts, or a part that is not there.
        """
        if parts is None:
            return self
        try:
            model, untrained = (ModelOfParts(one, parts, apart) for one in (self.model, self.untrained))
        except ValueError as error:
            raise UserError(str(error).replace("`parts`", "`--parts`", 1)) from error
        return replace(self, model=model, untrained=untrained, method=self.method)


def load_run(path: Path | str, data: Path | str | None = None) -> Run:
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
    seed, step = (whole_number(file, checkpoint, key) for key in ("seed", "global_step"))
    model, datamodule = build(config, seed, Path(data) if data else None)
    model.agreed.update(checkpoint.get("agreed", {}))
    try:
        agreements.check(model, datamodule, loaded=False, other=data is not None)
    except ValueError as error:
        raise UserError(message_of(error)) from error
    untrained = copy.deepcopy(model)
    load_weights(model, checkpoint["state_dict"], f"`{file}`", f"`{config}`")
    return Run(folder, file, model.eval(), untrained.eval(), datamodule, seed, step)


def locate(path: Path) -> tuple[Path, Path]:
    """The run folder and the checkpoint that ``path`` means.

    Raises:
        UserError: there is no such run; names those that are most like it.
    """
    if path.is_file() or is_sharded(path):
        for folder in path.absolute().parents[:2]:
            if (folder / "config.yaml").is_file():
                return folder, path
        raise UserError(f"`{path}` must lie in a run folder with a `config.yaml`, but there is none above it.")
    must_be_a_folder(path)
    checkpoint = newest_checkpoint(path)
    missing = "config.yaml" if not (path / "config.yaml").is_file() else None if checkpoint else "checkpoints/*.ckpt"
    if missing:
        runs = sorted({str(found.parent) for found in path.rglob("config.yaml")} - {str(path)})[:3]
        hint = f"; runs below it: {quoted(runs)}" if runs else ""
        raise UserError(f"`{path}` must be a run folder, but has no `{missing}`{hint}.")
    assert checkpoint is not None
    return path, checkpoint


def must_be_a_folder(path: Path) -> None:
    """Refuses a run that is not there.

    Raises:
        UserError: names those that are most like it.
    """
    if not path.is_dir():
        if path.parts[:1] == ("hf:",):
            raise UserError(
                f"`unmask import hf://{Path(*path.parts[1:])}` makes a run of it, which every command takes."
            )
        siblings = [str(one) for one in path.parent.iterdir() if one.is_dir()] if path.parent.is_dir() else []
        near = nearest(str(path), siblings)
        raise UserError(f"There is no run `{path}`" + (f"; nearest: {quoted(near)}." if near else "."))
