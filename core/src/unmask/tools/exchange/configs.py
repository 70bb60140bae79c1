"""The config that foreign weights are for: a recipe, a file, or what the weights carry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from unmask.plugins import registry
from unmask.runs.weights import Weights
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted
from unmask.support.yaml_files import parse_yaml
from unmask.tools.exchange.native import CONFIG
from unmask.tools.exchange.trust import check_trusted


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
        check_trusted(text, weights.file, CONFIG)
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


def renamed(text: str, names: Mapping[str, str]) -> str:
    """The config with texts of its model and its data replaced, such as paths of files that travelled with it.

    Args:
        text: the config.
        names: what stands there, and what shall.
    """
    content = parse_yaml(text, "config")
    if not names or not isinstance(content, dict):
        return text
    changed = content | {part: _replaced(content[part], names) for part in ("model", "data") if part in content}
    return text if changed == content else yaml.safe_dump(changed, sort_keys=False)


def _replaced(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value
