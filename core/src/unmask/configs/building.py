"""A model and its data module, built from YAML files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch

from unmask import agreements
from unmask.configs.errors import Parser, explain, is_mistake, message_of
from unmask.configs.names import registered_names
from unmask.data import MaskedDataModule
from unmask.model import MaskedModel
from unmask.support.errors import UserError
from unmask.support.yaml_files import read_yaml

_KINDS: dict[str, type] = {"model": L.LightningModule, "data": L.LightningDataModule}


def build(config: Path, seed: int, data: Path | None = None) -> tuple[MaskedModel, MaskedDataModule]:
    """A freshly initialised model and its data module.

    Args:
        config: a YAML file with ``model`` and ``data``, such as a run's or a recipe's.
        seed: of the initialisation.
        data: a YAML file whose ``data`` to take instead.

    Raises:
        UserError: a file that is not YAML, lacks an entry or names what cannot be built.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        built = _built({"model": config, "data": data or config})
    return built["model"], built["data"]


def build_data(config: Path) -> L.LightningDataModule:
    """The data module of a YAML file.

    Raises:
        UserError: as `build`.
    """
    return _built({"data": config})["data"]


def _built(files: Mapping[str, Path]) -> dict[str, Any]:
    """The entries of files, each by its name."""
    parts, parser = {}, Parser(exit_on_error=False)
    for name, file in files.items():
        content = read_yaml(file)
        if not isinstance(content, dict) or name not in content:
            raise UserError(f"`{file}` must have a `{name}` entry, but has none.")
        parts[name] = content[name]
        parser.add_lightning_class_args(_KINDS[name], name, subclass_mode=True)
    try:
        with registered_names(Parser.failures):
            config = parser.parse_object(parts)
            if len(set(files.values())) == 1:  # a trained model is not fitted to other data
                agreements.fill(config.get("model"), config.get("data"))
            built: dict[str, Any] = parser.instantiate(config)
    except argparse.ArgumentError as error:
        named = " and ".join(f"`{file}`" for file in dict.fromkeys(files.values()))
        raise UserError(f"{named}: {explain(error, (), ())}") from error
    except Exception as error:
        if is_mistake(error, running=False):
            raise UserError(message_of(error)) from error
        raise
    return built
