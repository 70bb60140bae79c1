"""A fine-tuned classifier in a file of its own: weights, and what they belong to, without any code to run."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from unmask.configs.building import build
from unmask.data import MaskedDataModule
from unmask.model import MaskedModel
from unmask.of_parts import of_parts
from unmask.runs.checkpoints import read_checkpoint, write_checkpoint
from unmask.runs.match import load_weights
from unmask.support.errors import UserError
from unmask.tools.features.labels import MULTI_LABEL, REGRESSION, Task
from unmask.tools.finetune.model import FineTuning
from unmask.tools.finetune.objective import Classification, MultiLabel, Objective, Regression
from unmask.tools.finetune.settings import Settings


def save(model: FineTuning, path: Path, config: str | None = None, step: int = 0) -> None:
    """Write a fine-tuned model, whole or not at all.

    Args:
        model: what to write.
        path: the file.
        config: the text of the run's ``config.yaml``, which `load` builds the encoder from.
        step: optimiser steps done.
    """
    objective = model.objective
    content = {
        "state_dict": {
            name: tensor.detach().cpu()
            for name, tensor in model.state_dict().items()
            if not name.startswith(("rebuilder.", "teacher."))  # of training alone
        },
        "seed": model.seed,
        "global_step": step,
        "finetune": {
            "config": config,
            "settings": asdict(model.settings),
            "task": asdict(model.task),
            "num_outputs": objective.num_outputs,
            "flat": getattr(objective, "flat", True),
            "classes": list(objective.classes),
            "agreed": model.agreed,
            "parts": list(model.parts) if model.parts is not None else None,
        },
    }
    write_checkpoint(content, path)


def load(path: Path | str, model: MaskedModel | None = None) -> FineTuning:
    """A fine-tuned model, in evaluation mode, ready for `FineTuning.predict`. Nothing in the file is unpickled.

    Its ``objective.classes`` are the words that class ids stand for, where the data had some.

    Args:
        path: a checkpoint of ``unmask finetune``.
        model: with an encoder and tokenizer of the same architecture; None: built from the config that is
            kept in the file.

    Raises:
        UserError: a file that is cut off, holds more than weights, or is no such checkpoint; weights that do
            not fit; a config that cannot be used.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no file `{path}`.")
    checkpoint = read_checkpoint(path)
    about = checkpoint.get("finetune")
    if not isinstance(about, dict):
        raise UserError(f"`{path}` must be a checkpoint of `unmask finetune`, but is one of `unmask fit`.")
    try:
        settings, task, config = Settings(**about["settings"]), Task(**about["task"]), about["config"]
        objective = _objective(about, task, settings)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"`{path}` says of itself what no `unmask finetune` writes: {error}") from error
    if model is None:
        if config is None:
            raise UserError(f"`{path}` holds no config; `model` must be given to load it.")
        model = of_parts(_built(config, checkpoint["seed"])[0], about.get("parts"))
    tuned = FineTuning(model, objective, task, replace(settings, rebuild_weight=0.0, teacher=None), checkpoint["seed"])
    load_weights(tuned, checkpoint["state_dict"], f"`{path}`", "its config")
    return tuned.eval()


def begun_from(path: Path, data: Path | None = None) -> tuple[MaskedModel, MaskedDataModule]:
    """The model and data of the run that a fine-tuned model comes from, without trained weights.

    Args:
        path: its checkpoint.
        data: a YAML file whose ``data`` replaces the run's own.

    Raises:
        UserError: as `load`.
    """
    checkpoint = read_checkpoint(path)
    config = checkpoint.get("finetune", {}).get("config")
    if config is None:
        raise UserError(
            f"`{path}` must be of `unmask finetune`, which keeps how new data is read, but is of another command."
        )
    model, datamodule = _built(config, checkpoint["seed"], data)
    model = of_parts(model, checkpoint["finetune"].get("parts"))
    model.agreed.update(checkpoint["finetune"].get("agreed", {}))
    return model, datamodule


def _built(config: str, seed: int, data: Path | None = None) -> tuple[MaskedModel, MaskedDataModule]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.yaml")
        file.write_text(config)
        return build(file, seed, data)


def _objective(about: dict[str, Any], task: Task, settings: Settings) -> Objective:
    """An objective of the right shape, whose numbers come with the weights."""
    num_outputs: int = about["num_outputs"]
    classes = [str(word) for word in about.get("classes", ())]  # files of older versions have none
    if task.kind == REGRESSION:
        return Regression(torch.zeros(num_outputs), torch.ones(num_outputs), settings.loss, about["flat"], classes)
    if task.kind == MULTI_LABEL:
        return MultiLabel(num_outputs, classes)
    return Classification(num_outputs, settings.label_smoothing, classes)
