"""What is wrong with an installed distribution, as far as that can be told without data.

What is read from metadata: the plugin API it was built for, requirements that are not met, names that
it shares with others. What takes an import, done in a process of its own so that one that crashes the
interpreter is found out too and spoils no other: whether each component is there, is of its family, has
no method left abstract, can be called as the family's are, and has arguments that a config can give.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Collection
from importlib import import_module, metadata
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from unmask.plugins import api_version, registry
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted

PLUGIN_COMMANDS = "unmask.commands"
"""Entry-point group of commands that plugins add: functions like ``run``, named ``plugin-command``."""
_ALL = "import sys; sys.path[:] = {path!r}; from unmask.plugins.inspection import report; report(sys.argv[1:], {done})"

_COMMAND = inspect.signature(lambda command, arguments, /: 0)


def problems_of(*distributions: str, commands: Collection[str] = ()) -> list[str]:
    """Sentences about what is wrong with ``distributions``. If one problem causes another, only the first is reported.

    Args:
        distributions: their names.
        commands: names that no command of theirs may have.
    """
    problems: list[str] = []
    complete: list[str] = []
    ready = not requirements("unmask")  # else all imports would say the same
    for distribution in distributions:
        problems += promise(distribution)
        if api_version.mismatch(distribution):
            continue
        missing = requirements(distribution)
        problems += [*missing, *shadowed(distribution, commands)]
        complete += [distribution] if ready and not missing else []
    return [*problems, *imports(*complete)]


def promise(distribution: str) -> list[str]:
    """What is wrong with its declaration of the plugin API; core, whose API it is, declares none."""
    if reason := api_version.mismatch(distribution):
        return [reason]
    if distribution == "unmask" or api_version.declared(distribution):
        return []
    return [
        f"{distribution} declares no plugin API; add to its pyproject.toml, under "
        f'[project.entry-points."{api_version.GROUP}"]: "{api_version.API}" = "its_package".'
    ]


def requirements(distribution: str) -> list[str]:
    """What ``distribution`` needs (extras left out) that is not installed, or is there in another version."""
    try:
        lines = metadata.requires(distribution) or []
    except Exception:  # it is not installed, or its metadata is damaged in any way
        return []
    problems = []
    for line in lines:
        try:
            needed = Requirement(line)
        except InvalidRequirement as error:
            problems.append(f"{distribution} requires `{line}`, which is no requirement: {error}.")
            continue
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{distribution} requires {needed.name}, which is not installed: pip install '{line}'.")
            continue
        if not needed.specifier.contains(installed, prereleases=True):
            rule = f"{needed.name}{needed.specifier}"
            problems.append(f"{distribution} requires {rule}, but {needed.name} {installed} is installed.")
    return problems


def shadowed(distribution: str, commands: Collection[str]) -> list[str]:
    """Commands of ``distribution`` that cannot be called, because core has ``commands`` of their names."""
    theirs = [c.name for c in registry.components() if (c.distribution, c.group) == (distribution, PLUGIN_COMMANDS)]
    return [f"Command `{name}` of {distribution} is hidden by core's own." for name in theirs if name in commands]


def imports(*distributions: str) -> list[str]:
    """What goes wrong when the components of ``distributions`` are imported and looked at, in a fresh process.

    One component that ends the process is followed by another process for the rest.
    """
    problems: list[str] = []
    done = 0
    while distributions:
        code = [sys.executable, "-c", _ALL.format(path=sys.path, done=done), *distributions]
        ended = subprocess.run(code, capture_output=True, text=True, errors="replace")
        where = ""
        for line in ended.stdout.splitlines():
            mark, _, rest = line.partition(" ")
            if mark == "@@":
                where, done = json.loads(rest), done + 1
            elif mark == "@!":
                problems.append(json.loads(rest))
            elif mark == "@.":
                return problems
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        problems.append(f"{where or 'Something'} ends the interpreter: code {ended.returncode}, {last}")
        if not where:  # it cannot even begin
            break
    return problems


def report(distributions: list[str], done: int) -> None:
    """Look at each component after the first ``done``, and print what was found in the form that `imports` reads."""
    mine = [component for component in registry.components() if component.distribution in distributions]
    for component in sorted(mine, key=lambda component: component.distribution)[done:]:
        print("\n@@", json.dumps(f"`{component.name}` of {component.distribution} ({component.group})"), flush=True)
        try:
            found = in_recipe(component) if component.group == registry.RECIPES else in_class(component)
        except UserError as error:
            found = [str(error)]
        for problem in found:
            print("\n@!", json.dumps(problem), flush=True)
    print("\n@.", flush=True)


def in_recipe(component: registry.Component) -> list[str]:
    """What is wrong with a recipe: no YAML, no method or data, or ones that nothing is registered for."""
    from unmask.support.yaml_files import read_yaml  # here, so that PyYAML's absence is told in words

    where = f"Recipe `{component.name}` of {component.distribution}"
    try:
        parsed = read_yaml(component.path(), component.name)
    except UserError as error:
        return [f"Recipe {error} It is of {component.distribution}."]
    problems = []
    for key, group in (("model", "unmask.methods"), ("data", "unmask.data")):
        value = parsed.get(key) if isinstance(parsed, dict) else None
        name = value.get("class_path") if isinstance(value, dict) else value
        if not isinstance(name, str):
            problems.append(f"{where} must name a class under `{key}`, but names none.")
        elif not registry.matches(name, group):
            try:
                getattr(import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
            except Exception:  # no class path either, whatever the reason
                candidates = [c for c in registry.components() if c.group == group]
                problems.append(f"{where}: {registry.unknown(name, group.removeprefix('unmask.'), candidates)}")
    return problems


def in_class(component: registry.Component) -> list[str]:
    """What is wrong with a component's class: not of its family, abstract, or not to be called or configured."""
    made = component.load()
    if component.group not in (*registry.FAMILIES, PLUGIN_COMMANDS):
        near = quoted(nearest(component.group, [*registry.FAMILIES, registry.RECIPES, PLUGIN_COMMANDS]))
        return [f"{_where(component)} is in a group that nobody reads; nearest: {near or '`unmask.methods`'}."]
    problems = misfits(component, made)
    if not problems and component.group in registry.FAMILIES:
        problems = unreadable(made)
    return [f"{_where(component)} {bad}" for bad in problems]


def callable_as_its_family(component: registry.Component) -> Any:
    """The component's class or function, for a run that names it.

    Raises:
        BrokenPluginError: it cannot be imported, or not be used as its family's are.
    """
    try:
        made = component.load()
    except registry.BrokenPluginError as error:
        if missing := requirements(component.distribution):
            raise registry.BrokenPluginError(f"{error}\n{missing[0]}") from error
        raise
    if component.group in (*registry.FAMILIES, PLUGIN_COMMANDS) and (problems := misfits(component, made)):
        raise registry.BrokenPluginError(f"{_where(component)} {problems[0]}")
    return made


def misfits(component: registry.Component, made: Any) -> list[str]:
    """Why ``made``, which a component's import gave, cannot be used as its family's are."""
    if component.group == PLUGIN_COMMANDS:
        return unlike(made, _COMMAND)
    module, _, name = registry.FAMILIES[component.group].rpartition(".")
    family = getattr(import_module(module), name)
    if not isinstance(made, type) or not issubclass(made, family):
        return [f"must be a subclass of {name}, but is {made!r}."]
    if missing := sorted(getattr(made, "__abstractmethods__", ())):
        return [f"must define {quoted(missing)}, which {name} leaves to it."]
    return other_calls(made)


def other_calls(made: type) -> list[str]:
    """Methods that cannot be called as those of core's classes are, from which ``made`` descends."""
    problems: list[str] = []
    seen = set()  # the nearest class that has a method says how it is called
    for owner in made.__mro__[1:]:
        if not owner.__module__.startswith("unmask."):
            continue
        for name, declared in vars(owner).items():
            redefined = getattr(made, name, None)
            if name.startswith("_") or name in seen or not inspect.isfunction(declared):
                continue
            seen.add(name)
            if redefined is not declared:
                problems += [f"has `{name}`, which {bad}" for bad in unlike(redefined, inspect.signature(declared))]
    return problems


def unlike(function: Any, asked: inspect.Signature) -> list[str]:
    """Why ``function`` cannot be called with the arguments ``asked`` for, by place as well as by name."""
    places = [given.name for given in asked.parameters.values() if given.kind <= given.POSITIONAL_OR_KEYWORD]
    names = [given.name for given in asked.parameters.values() if given.kind == given.KEYWORD_ONLY]
    first = [given.name for given in asked.parameters.values() if given.kind == given.POSITIONAL_ONLY]
    try:
        own = inspect.signature(function)
        own.bind(*places, **dict.fromkeys(names))
        own.bind(*first, **dict.fromkeys([*places[len(first) :], *names]))
    except (TypeError, ValueError) as error:
        return [f"must take ({', '.join([*places, *names])}): {error}."]
    return []


def unreadable(made: type) -> list[str]:
    """Why no config can give the arguments of a class."""
    from jsonargparse import ArgumentParser

    try:
        ArgumentParser(exit_on_error=False).add_class_arguments(made, fail_untyped=True)
    except Exception as error:  # of many kinds
        return [f"has arguments that no config can give: {' '.join(str(error).split())}"]
    return []


def _where(component: registry.Component) -> str:
    return f"`{component.name}` of {component.distribution} ({component.group}, {component.value})"
