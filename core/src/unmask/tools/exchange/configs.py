"""The config that foreign weights are for: a recipe, a file, or what the weights carry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

import yaml

from unmask.plugins import registry
from unmask.runs.weights import Weights
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted
from unmask.support.yaml_files import parse_yaml
from unmask.tools.exchange.native import CONFIG


def read_config(given: str | None, weights: Weights) -> tuple[str, Path | None]:
    """Text of the config that weights are for, and its file, if it has one.

    Args:
        given: a recipe's name or a YAML file; None: the one that the weights carry.
        weights: whose metadata may have one.

    Raises:
        UserError: neither is there, it is no text, or a carried one names classes that no plugin brings.
    """
    if given is None:
        if CONFIG not in weights.metadata:
            raise UserError(
                f"`{weights.file}` does not say what model it is for: `--config` must name a recipe or a YAML file."
            )
        text = weights.metadata[CONFIG]
        _trust(text, weights.file)
        return text, None
    path = Path(given)
    if not path.is_file():
        if path.suffix in (".yaml", ".yml", ".json"):
            there = [str(one) for one in path.parent.glob("*")] if path.parent.is_dir() else []
            near = nearest(given, there)
            raise UserError(
                f"`--config`: there is no file `{given}`" + (f"; nearest: {quoted(near)}." if near else ".")
            )
        path = registry.find(given, registry.RECIPES).path()
    try:
        return path.read_text("utf-8"), path
    except UnicodeDecodeError as error:
        raise UserError(f"`{path}` is not YAML: it is no text.") from error


def seed_of(text: str) -> int:
    """The config's ``seed_everything`` where it is a number; else 0."""
    try:
        content = parse_yaml(text, "config")
    except UserError:
        return 0  # `build` will say so
    seed = content.get("seed_everything") if isinstance(content, dict) else None
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else 0


def settled(text: str, out: Path) -> str:
    """The config with the folder that it names, if any, changed to ``out``: or it would go on where it comes from."""
    try:
        content = parse_yaml(text, "config")
    except UserError:
        return text
    trainer = content.get("trainer") if isinstance(content, dict) else None
    if not isinstance(trainer, dict) or not trainer.get("default_root_dir"):
        return text
    trainer["default_root_dir"] = str(out)
    return yaml.safe_dump(content, sort_keys=False)


def _trust(text: str, file: Path) -> None:
    """Classes that a downloaded file names must be of packages that this user installed for unmask.

    Raises:
        UserError: another class is named, or the config cannot be read.
    """
    installed = {re.split("[.:]", c.value)[0] for c in registry.components()} | {"unmask", "torch", "lightning"}
    for path in _importable(parse_yaml(text, f"{file}: {CONFIG}")):
        if path.partition(".")[0] not in installed and not registry.matches(path):
            raise UserError(
                f"`{file}` carries a config that names `{path}`, which no installed plugin brings; if you trust it, "
                "give the config by `--config`."
            )


def _importable(value: Any) -> Iterator[str]:
    """Words of a config that could be the path of a class or a function of some module."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _importable(inner)
    elif isinstance(value, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value) and _is_module(value):
        yield value


def _is_module(path: str) -> bool:
    """Whether a module is called as a path begins; it is looked for, not imported."""
    return util.find_spec(path.partition(".")[0]) is not None
