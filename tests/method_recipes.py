"""The recipe of every registered method that needs no data of one's own, found through the registry.

Tests that hold for every method take their list from here, so none can be forgotten.
"""

import re
from functools import cache

import yaml

from unmask.plugins.registry import components

GENERATED = (
    "-digits",
    "-synth",
    "-solids",
    "-pydoc",
    "-imports",
    "-clusters",
    "-faces",
    "-objects",
    "-pages",
    "-scenes",
    "-xray",
    "-ct",
    "-cora",
)
"""Ends of names of recipes whose data a package holds or makes, and then of those that fetch some."""


def methods(plugin: str = "") -> list[str]:
    """Names of all methods, or of those that one plugin registers."""
    return [c.name for c in components() if c.family == "methods" and c.name.startswith(plugin)]


def recipe_of(method: str) -> str:
    """The name of a recipe of this method; where there are several, the one that is called as the method is."""
    own = method.replace(".", "/")
    found = [name for name, settings in _recipes().items() if settings["model"]["class_path"] == method]
    assert found, f"{method} has no recipe"

    def rank(name: str) -> tuple[int, bool]:
        end = next((number for number, end in enumerate(GENERATED) if name.endswith(end)), len(GENERATED))
        return end, re.sub(r"-[a-z]+$", "", name) != own

    return min(found, key=rank)


def first_stage_of(method: str) -> tuple[str, str] | None:
    """The first word of the options of another run that the method's recipe builds on, and the recipe of that run;
    None: it builds on none."""
    options = _recipes()[recipe_of(method)]["model"].get("init_args") or {}
    runs = [name.removesuffix("_run") for name, value in options.items() if name.endswith("_run") and value]
    return (runs[0], options[f"{runs[0]}_recipe"]) if runs else None


@cache
def _recipes() -> dict[str, dict]:
    return {c.name: yaml.safe_load(c.path().read_text("utf-8")) for c in components() if c.family == "recipes"}
