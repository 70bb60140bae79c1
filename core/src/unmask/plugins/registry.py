"""What is installed: components that packages register as entry points, found without importing them.

Every entry-point group whose name starts with ``unmask.`` counts; core's own components are
registered like anybody else's. Reading the list touches package metadata only. A component's module
is imported when it is used, and no other.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module, util
from pathlib import Path
from typing import Any

from unmask.plugins import api_version
from unmask.plugins.installed import entry_points, name_of
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted

RECIPES = "unmask.recipes"
MOST_NAMED = 50
"""Names that an error lists."""
READ_OF_A_FILE = 1000
"""Characters of a file in which its first line is looked for."""

FAMILIES = {
    "unmask.methods": "lightning.pytorch.core.module.LightningModule",
    "unmask.data": "lightning.pytorch.core.datamodule.LightningDataModule",
    "unmask.masks": "unmask.parts.MaskSampler",
    "unmask.tokenizers": "unmask.parts.Tokenizer",
    "unmask.encoders": "unmask.parts.Encoder",
    "unmask.corruptions": "unmask.parts.Corruption",
    "unmask.predictors": "unmask.parts.Predictor",
    "unmask.targets": "unmask.parts.Target",
    "unmask.losses": "unmask.parts.Loss",
    "unmask.terms": "unmask.parts.Term",
    "unmask.schedules": "unmask.schedules.Schedule",
    "unmask.spreads": "unmask.schedules.Spread",
    "unmask.formats": "unmask.tools.exchange.format.Format",
    "unmask.agreements": "unmask.agreements.Agreement",
    "unmask.own_files": "unmask.data.own_files.OwnFiles",
}
"""The class that the components of a group descend from, as a path, so that asking imports nothing."""


class UnknownNameError(UserError):
    """Nothing is registered under this name."""


class NameClashError(UserError):
    """Several distributions claim this name."""


class BrokenPluginError(UserError):
    """A registered component cannot be imported, or was built for another plugin API."""


@dataclass(frozen=True, order=True)
class Component:
    """One entry point.

    Args:
        group: ``unmask.masks``, ``unmask.methods``, ...
        name: the registered name, such as ``block``; a plugin puts its own name before: ``this.that``.
        value: ``module.path:ClassName``, for recipes ``package:file.yaml``.
        distribution: the installed package that registers it.
    """

    group: str
    name: str
    value: str
    distribution: str

    @property
    def class_name(self) -> str:
        """The bare class name, such as ``BlockMask``."""
        return self.value.rpartition(":")[2].strip()

    @property
    def class_path(self) -> str:
        """The full class path, such as ``unmask.masks.block.BlockMask``."""
        return self.value.replace(":", ".").replace(" ", "")

    @property
    def family(self) -> str:
        """The group without its prefix: ``masks``."""
        return self.group.removeprefix("unmask.")

    def load(self) -> Any:
        """The class, by importing its module and no other.

        Raises:
            BrokenPluginError: its distribution was built for another API, or the import fails, whatever the reason.
        """
        module, _, name = self.value.partition(":")
        if reason := api_version.mismatch(self.distribution):
            raise self._broken(f"cannot be used: {reason}")
        try:
            return getattr(import_module(module.strip()), name.strip())
        except (Exception, SystemExit) as error:  # a plugin may fail in any way
            raise self._broken("cannot be imported", error) from error

    def path(self) -> Path:
        """The recipe's file. Of its package, only the package itself is imported.

        Raises:
            BrokenPluginError: its distribution was built for another API, or the package or the file is not there.
        """
        package, _, file = self.value.partition(":")
        if reason := api_version.mismatch(self.distribution):
            raise self._broken(f"cannot be used: {reason}")
        try:
            spec = util.find_spec(package.strip())
        except Exception as error:  # importing the parent package may fail in any way
            raise self._broken("cannot be found", error) from error
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if (path := Path(folder, file.strip())).is_file():
                return path
        raise self._broken("cannot be found: no file.")

    def paper(self) -> str:
        """Authors, year and number of its paper, from the first line of its file; empty where it names none.

        Nothing is imported: the file is looked for in the package's folder, and its beginning is read as text.
        """
        package, *inner = self.value.partition(":")[0].strip().split(".")
        try:
            folders = util.find_spec(package).submodule_search_locations or []  # type: ignore[union-attr]
            file = next(p for folder in folders if (p := Path(folder, *inner).with_suffix(".py")).is_file())
            with file.open(encoding="utf-8") as opened:
                start = opened.read(READ_OF_A_FILE)
        except Exception:  # a package may lie anywhere and hold anything
            return ""
        first = re.match(r'[rR]?"""(.*?)(?:\n\n|""")', start, re.DOTALL)
        found = re.search(r"\(([^()]*?arXiv:[\d.]*\d)", " ".join(first[1].split())) if first else None
        return found[1] if found else ""

    def _broken(self, what: str, error: BaseException | None = None) -> BrokenPluginError:
        cause = f": {type(error).__name__}: {' '.join(str(error).split()) or 'no message'}" if error else ""
        return BrokenPluginError(f"`{self.name}` of {self.distribution} ({self.group}, {self.value}) {what}{cause}")


@cache
def components() -> tuple[Component, ...]:
    """Every registered component and recipe, sorted; `components.cache_clear` after installing more."""
    installed = entry_points()
    found = {  # a set: what is left of an interrupted upgrade says everything twice
        Component(group, entry.name, entry.value, name_of(entry))
        for group in installed.groups
        if group.startswith("unmask.") and group != api_version.GROUP
        for entry in installed.select(group=group)
    }
    return tuple(sorted(found))


def groups() -> list[str]:
    """The groups that hold something, without their ``unmask.`` prefix."""
    return sorted({component.family for component in components()} | {g[7:] for g in FAMILIES} | {"recipes"})


def clashes() -> list[list[Component]]:
    """Components of one group that several distributions register under one name."""
    by_name: dict[tuple[str, str], list[Component]] = {}
    for component in components():
        by_name.setdefault((component.group, component.name), []).append(component)
    return [several for several in by_name.values() if len(several) > 1]


def find(name: str, group: str | None = None) -> Component:
    """The one component called ``name``, in ``group`` or in any. Of several, its owner counts (`api_version.owns`).

    A registered name counts first, then a bare class name, then a full class path.

    Raises:
        UnknownNameError: there is none; the message names the nearest.
        NameClashError: there are several, and none or more than one owns the name.
    """
    found = matches(name, group)
    if not found:
        candidates = [c for c in components() if group in (None, c.group)]
        kind = group.removeprefix("unmask.") if group else "components"
        raise UnknownNameError(unknown(name, kind, candidates))
    owners = [c for c in found if api_version.owns(c.distribution, c.name)]
    if len(owners) == 1 < len(found) and len({(c.group, c.name) for c in found}) == 1:
        warnings.warn(f"`{name}` is claimed by several; it means that of {owners[0].distribution}.", stacklevel=2)
        return owners[0]
    if len(found) > 1:
        where = " and ".join(f"{c.distribution} ({c.group}, {c.value})" for c in found)
        raise NameClashError(f"`{name}` is claimed by {where}; uninstall one, or give a class by its full path.")
    return found[0]


def matches(name: str, group: str | None = None) -> list[Component]:
    """Components called ``name``: by registered name, else by class name, else by class path."""
    pool = [c for c in components() if group in (None, c.group)]
    for key in ("name", "class_name", "class_path"):
        found = [c for c in pool if getattr(c, key) == name and (key == "name" or c.group != RECIPES)]
        if key != "name":  # one class under two names is still one class
            found = list({(c.class_path, c.distribution): c for c in found}.values())
        if found:
            return found
    return []


def find_for(base: type, name: str) -> Component | None:
    """The component called ``name`` where a ``base`` is expected, or None when no group holds one.

    Raises:
        NameClashError: several distributions register it.
    """
    group = group_of(base)
    if group is not None or len(matches(name)) == 1:
        return find(name, group) if matches(name, group) else None
    return next((c for c in matches(name) if issubclass(c.load(), base)), None)


def group_of(base: type) -> str | None:
    """The group whose components are expected where ``base`` is, or None when no group is."""
    paths = {f"{cls.__module__}.{cls.__qualname__}" for cls in base.__mro__}
    return next((group for group, family in FAMILIES.items() if family in paths), None)


def unknown(name: str, kind: str, candidates: Iterable[Component]) -> str:
    """A sentence for a name that nothing is registered under, with the nearest that are."""
    candidates = list(candidates)
    names = {c.name: c.name for c in candidates}
    names |= {c.class_name: c.name for c in candidates if c.group != RECIPES}
    found = nearest(name, names) or nearest(name.rpartition(".")[2], names)  # a class path counts by its class
    choices = list(dict.fromkeys(names[word] for word in found))
    if choices:
        return f"There is no `{name}` among the {kind}; nearest: {quoted(choices)}."
    plugin, dot, rest = name.partition(".")
    prefixes = {c.name.replace("/", ".").partition(".")[0] for c in components() if {".", "/"} & set(c.name)}
    if dot and rest and "." not in rest and rest == rest.lower() and not nearest(plugin, prefixes):
        return (
            f"There is no `{name}` among the {kind}: no installed plugin has names that begin with `{plugin}.`; it may "
            f"be in the package `unmask-{plugin}`, which `pip install` adds."
        )
    if candidates:
        known = sorted({candidate.name for candidate in candidates})
        there = quoted(known[:MOST_NAMED]) + (", ... (all: `unmask list`)" if len(known) > MOST_NAMED else "")
        return (
            f"There is no `{name}` among the {kind}; there are: {there}. (A new line in a `pyproject.toml` counts once "
            "its package is installed again.)"
        )
    return f"There is no `{name}` among the {kind}: none is installed."
