"""From data and a method to a recipe: what ``unmask pretrain`` and `unmask.pretrain` run.

What a folder holds is told by the endings of its files, which plugins declare (`OwnFiles`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from unmask.data.findings import Findings
from unmask.data.folders import find_files, no_such
from unmask.data.own_files import OwnFiles
from unmask.plugins import registry
from unmask.plugins.inspection import callable_as_its_family
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted
from unmask.support.yaml_files import read_yaml

OWN_FILES, METHODS, DATA = "unmask.own_files", "unmask.methods", "unmask.data"


class Guess(NamedTuple):
    """What to run.

    Args:
        recipe: its name.
        words: further options of ``unmask fit``.
        told: a sentence on what was taken for what.
    """

    recipe: str
    words: list[str]
    told: str


def guess(data: str | Sequence[str], method: str | None = None, recipe: str | None = None) -> Guess:
    """The recipe for some data.

    Args:
        data: files or folders, or the name of a registered data module.
        method: a registered name; None: the recipe's own.
        recipe: a registered name or a file; None: one that reads such data, with this method where there is one.

    Raises:
        UserError: no such data, method or recipe; files of which no installed plugin, or more than one, can be meant.
    """
    places = [data] if isinstance(data, str) else list(data)
    known = _method(method)
    named = _named_data(places)
    if named is not None:
        return _of_named(named, known, recipe)
    own, told = _own_files(places, known, recipe)
    chosen = recipe or _with_method(own, known)
    place = json.dumps(places) if own.several and len(places) > 1 else places[0]
    if len(places) > 1 and not own.several:
        raise UserError(f"`{own.option}` of {chosen} must be one place, but {len(places)} are given: {quoted(places)}.")
    return Guess(chosen, [*_swapped(chosen, known), f"--data.{own.option}={place}"], f"{told}; recipe: {chosen}")


def _method(name: str | None) -> registry.Component | None:
    return None if name is None else registry.find(name, METHODS)


def _named_data(places: list[str]) -> registry.Component | None:
    """The data module that is meant, if it is none of the files."""
    if len(places) != 1 or Path(places[0]).exists():
        return None
    found = registry.matches(places[0], DATA)
    return found[0] if len(found) == 1 else None


def _of_named(data: registry.Component, method: registry.Component | None, recipe: str | None) -> Guess:
    """A recipe with this data module; of several, one of the method that people's own files are trained with."""
    with_data = _plain_first([one for one in _recipes() if _uses(one, "data", data)])
    usual = [_class_of(registry.find(kind.recipe, registry.RECIPES), "model") for kind in _kinds(data)]
    with_data.sort(key=lambda one: _class_of(one, "model") not in usual)
    with_both = [one for one in with_data if method is None or _uses(one, "model", method)]
    if recipe is None and not with_data:
        raise UserError(
            f"No recipe trains on `{data.name}`; write one, and run it by `unmask fit --config FILE` (`unmask show "
            f"{data.name}` tells its options)."
        )
    chosen = recipe or (with_both or with_data)[0].name
    swapped = [] if recipe is None else [f"--data={data.name}"]
    return Guess(chosen, [*_swapped(chosen, method), *swapped], f"Data: {data.name}; recipe: {chosen}")


def _own_files(places: list[str], method: registry.Component | None, recipe: str | None) -> tuple[type[OwnFiles], str]:
    """The kind of files that these are, and a sentence on why."""
    kinds = _kinds(method or (registry.find(recipe, registry.RECIPES) if recipe and _is_registered(recipe) else None))
    for place in places:
        if not Path(place).exists():
            near = nearest(place, [one.name for one in registry.components() if one.group == DATA])
            hint = f", nor registered data of that name; nearest: {quoted(near)}" if near else ""
            raise UserError(str(no_such(place, "data")).removesuffix(".") + hint + ".")
    endings = _endings(places)
    counts = {kind: sum(n for end, n in endings.items() if end in kind.endings) for kind in kinds}
    counts = {kind: count for kind, count in counts.items() if count}
    if not counts:
        reads = "; ".join(f"{kind.what}: {', '.join(kind.endings)}" for kind in kinds) or "no plugin is installed"
        held = ", ".join(f"{count:,} {ending or 'without ending'}" for ending, count in endings.most_common(4))
        raise UserError(f"`data` must hold files that can be trained on ({reads}), but holds {held or 'none'}.")
    alone = {
        kind: sum(n for end, n in endings.items() if [k for k in kinds if end in k.endings] == [kind])
        for kind in counts
    }
    best = max(alone.values())
    meant = list(counts) if not best else [kind for kind in counts if alone[kind] == best]
    if len(meant) > 1:
        words = " or ".join(kind.what for kind in meant)
        raise UserError(
            f"`data` can be taken for {words}; say which by `method`, such as {_method_of(meant[0])} or "
            f"{_method_of(meant[1])}."
        )
    kind = meant[0]
    total = sum(endings.values())
    return kind, f"Taken for {kind.what}: {counts[kind]:,} of {total:,} {'file' if total == 1 else 'files'}"


def _kinds(like: registry.Component | None) -> list[type[OwnFiles]]:
    """Of one plugin, or of all."""
    components = [one for one in registry.components() if one.group == OWN_FILES]
    if like is not None:
        components = [one for one in components if one.distribution == like.distribution]
    return [callable_as_its_family(one) for one in components]


def _is_registered(recipe: str) -> bool:
    return bool(registry.matches(recipe, registry.RECIPES))


def _endings(places: list[str]) -> Counter[str]:
    """How many files there are of each ending; ``.gz`` does not count as one."""
    found: Counter[str] = Counter()
    for place in map(Path, places):
        try:
            files = find_files(place, [""], Findings(), option="data") if place.is_dir() else [place]
        except ValueError as error:
            raise UserError(str(error)) from error
        found.update(Path(file.name.lower().removesuffix(".gz")).suffix for file in files)
    return found


def _recipes(distribution: str | None = None) -> list[registry.Component]:
    return [
        one
        for one in registry.components()
        if one.group == registry.RECIPES and distribution in (None, one.distribution)
    ]


def _plain_first(recipes: list[registry.Component]) -> list[registry.Component]:
    """Those named after their method before those that show an option of it."""

    def is_other(recipe: registry.Component) -> bool:
        method = _class_of(recipe, "model").rpartition(".")[2]
        return not recipe.name.rpartition("/")[2].startswith(f"{method}-")

    return sorted(recipes, key=lambda one: (is_other(one), len(one.name), one.name))


def _with_method(own: type[OwnFiles], method: registry.Component | None) -> str:
    """A recipe with the same data and this method, or the plugin's own recipe."""
    if method is None:
        return own.recipe
    usual = registry.find(own.recipe, registry.RECIPES)
    data = _class_of(usual, "data")
    for one in [usual, *_plain_first(_recipes(usual.distribution))]:
        if _class_of(one, "data") == data and _uses(one, "model", method):
            return one.name
    return own.recipe


def _swapped(recipe: str, method: registry.Component | None) -> list[str]:
    """The option that puts another method in place of the recipe's own."""
    if method is None or not _is_registered(recipe):
        return [] if method is None else [f"--model={method.name}"]
    return [] if _uses(registry.find(recipe, registry.RECIPES), "model", method) else [f"--model={method.name}"]


def _uses(recipe: registry.Component, part: str, component: registry.Component) -> bool:
    return _class_of(recipe, part) in (component.name, component.class_name, component.class_path)


def _class_of(recipe: registry.Component, part: str) -> str:
    parsed = read_yaml(recipe.path(), recipe.name)
    return str(parsed[part]["class_path"]) if isinstance(parsed, dict) and part in parsed else ""


def _method_of(kind: type[OwnFiles]) -> str:
    return f"`{_class_of(registry.find(kind.recipe, registry.RECIPES), 'model')}`"
