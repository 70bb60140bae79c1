"""Configs that came from elsewhere: what they may name, and that is classes which this user has installed for unmask.

A config builds classes with arguments, in a parameter of any type any class at all. One that came with weights may name
classes of core, of installed plugins, and of torch and Lightning those that models and trainers are made of.
"""

from __future__ import annotations

import inspect
import pydoc
import re
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

from unmask.plugins import registry
from unmask.support.errors import UserError
from unmask.support.yaml_files import LONGEST, parse_yaml, read_yaml

PARTS = (
    "torch.nn", "torch.optim", "lightning.pytorch.callbacks", "lightning.pytorch.loggers", "lightning.pytorch.plugins",
    "lightning.pytorch.profilers", "lightning.pytorch.strategies",
)  # fmt: skip
"""Where those of torch and Lightning are."""
COMMANDS = ("unmask.cli", "unmask.configs", "unmask.tools", "unmask.testing")
"""Where those of core are that would start something."""


def check_trusted(text: str, file: Path, what: str) -> None:
    """Refuses a config that names what is not installed for unmask. Nothing that it names is run, nor imported
    from other packages.

    Args:
        text: the config.
        file: that carried it, for messages.
        what: the name of the config there.

    Raises:
        UserError: another class is named, or the config cannot be read.
    """
    plugins = {re.split("[.:]", component.value)[0] for component in registry.components()} - {"unmask"}
    for path in _importable(parse_yaml(text, f"{file}: {what}")):
        if not registry.matches(path) and not _is_part(path, plugins):
            raise UserError(
                f"`{file}` carries a config that names `{path}`, which no installed plugin brings; if you trust it, "
                "give the config by `--config`."
            )


def _is_part(path: str, plugins: set[str]) -> bool:
    """Whether a path means a class or function of `PARTS`, of core or of a plugin, or nothing at all."""
    if path.partition(".")[0] not in plugins | {"unmask", "torch", "lightning"}:
        return False
    try:
        found = pydoc.locate(path)
    except pydoc.ErrorDuringImport:  # a broken plugin, which building it will tell
        return True
    if found is None:
        return True
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        return not callable(found)  # such as a module or a type of numbers
    home = f"{found.__module__}.{found.__qualname__}"  # a module has what it imports, too
    return _is_below(home, (*plugins, *PARTS, "unmask")) and not _is_below(home, COMMANDS)


def _is_below(path: str, packages: tuple[str, ...]) -> bool:
    return any(f"{path}.".startswith(f"{package}.") for package in packages)


def _importable(value: Any) -> Iterator[str]:
    """Words of a config that could be the path of a class or a function of some module; a text may be YAML itself, or
    name a file of it."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _importable(inner)
    elif isinstance(value, str):
        words = value.split(".")
        if len(words) > 1 and all(word.isidentifier() for word in words):
            if _is_module(words[0]):
                yield value
            return
        inner = _inner(value)
        if inner != value:
            yield from _importable(inner)


def _inner(value: str) -> Any:
    """What a text holds as YAML, or the file that it names, which would be read in its place; else the text."""
    try:
        path = Path(value).expanduser()
        if path.is_file():
            return read_yaml(path) if path.stat().st_size < LONGEST else value
    except (OSError, ValueError, RuntimeError, UserError):  # no path, or no YAML
        return value
    try:
        return parse_yaml(value, "a text")
    except UserError:
        return value


def _is_module(name: str) -> bool:
    """Whether there is a module of that name; it is looked for, not imported."""
    return util.find_spec(name) is not None
