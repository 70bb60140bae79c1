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
from importlib import import_module, metadata
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from unmask import api, plugins
from unmask.nearest import nearest, quoted

_ALL = "import sys; sys.path[:] = {path!r}; from unmask.cli.inspection import report; report(sys.argv[1])"


def problems_of(distribution: str) -> list[str]:
    """Sentences about what is wrong with ``distribution``; of those that build on each other the first alone."""
    promised = promise(distribution)
    if api.mismatch(distribution):
        return promised
    missing = requirements(distribution)
    return [*promised, *missing, *shadowed(distribution), *([] if missing else imports(distribution))]


def promise(distribution: str) -> list[str]:
    """What is wrong with its declaration of the plugin API; core, whose API it is, declares none."""
    if reason := api.mismatch(distribution):
        return [reason]
    if distribution == "unmask" or api.declared(distribution):
        return []
    return [
        f"{distribution} declares no plugin API; add to its pyproject.toml, under "
        f'[project.entry-points."{api.GROUP}"]: "{api.API}" = "its_package".'
    ]


def requirements(distribution: str) -> list[str]:
    """What ``distribution`` needs (extras left out) that is not installed, or is there in another version."""
    try:
        lines = metadata.requires(distribution) or []
    except (metadata.PackageNotFoundError, ValueError):
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


def shadowed(distribution: str) -> list[str]:
    """Commands of ``distribution`` that core's own of that name keep from being called."""
    from unmask.cli import COMMANDS, PLUGIN_COMMANDS

    commands = [c.name for c in plugins.components() if (c.distribution, c.group) == (distribution, PLUGIN_COMMANDS)]
    return [f"Command `{name}` of {distribution} is hidden by core's own." for name in commands if name in COMMANDS]


def imports(distribution: str) -> list[str]:
    """What goes wrong when the components of ``distribution`` are imported and looked at, in a fresh process."""
    code = _ALL.format(path=sys.path)
    done = subprocess.run([sys.executable, "-c", code, distribution], capture_output=True, text=True)
    problems, current = [], None
    for line in done.stdout.splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "@@":
            current = json.loads(rest)
        elif mark == "@!":
            problems.append(json.loads(rest))
        elif mark == "@.":
            return problems
    group, name = current or ("unmask", "the first component")
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return [*problems, f"`{name}` of {distribution} ({group}) ends the interpreter: code {done.returncode}, {last}"]


def report(distribution: str) -> None:
    """Look at each component, and print what was found in the form that `imports` reads."""
    for component in plugins.components():
        if component.distribution == distribution:
            print("\n@@", json.dumps([component.group, component.name]), flush=True)
            try:
                found = in_recipe(component) if component.group == plugins.RECIPES else in_class(component)
            except plugins.UserError as error:
                found = [str(error)]
            for problem in found:
                print("\n@!", json.dumps(problem), flush=True)
    print("\n@.", flush=True)


def in_recipe(component: plugins.Component) -> list[str]:
    """What is wrong with a recipe: no YAML, no method or data, or ones that nothing is registered for."""
    where = f"Recipe `{component.name}` of {component.distribution}"
    try:
        parsed = yaml.safe_load(component.path().read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return [f"{where} is not valid YAML: {' '.join(str(error).split())}."]
    problems = []
    for key, group in (("model", "unmask.methods"), ("data", "unmask.data")):
        value = parsed.get(key) if isinstance(parsed, dict) else None
        name = value.get("class_path") if isinstance(value, dict) else value
        if not isinstance(name, str):
            problems.append(f"{where} must name a class under `{key}`, but names none.")
        elif not plugins.matches(name, group):
            try:
                getattr(import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
            except Exception:  # no class path either, whatever the reason
                candidates = [c for c in plugins.components() if c.group == group]
                problems.append(f"{where}: {plugins.unknown(name, group.removeprefix('unmask.'), candidates)}")
    return problems


def in_class(component: plugins.Component) -> list[str]:
    """What is wrong with a component's class: not of its family, abstract, or not to be called or configured."""
    made = component.load()
    where = f"`{component.name}` of {component.distribution} ({component.group}, {component.value})"
    if component.group not in plugins.FAMILIES:
        known = component.group == "unmask.commands"
        if not known:
            near = quoted(nearest(component.group, [*plugins.FAMILIES, plugins.RECIPES, "unmask.commands"]))
            return [f"{where} is in a group that nobody reads; nearest: {near or '`unmask.methods`'}."]
        return [f"{where} {bad}" for bad in unlike(made, ("command", "arguments"))]
    module, _, name = plugins.FAMILIES[component.group].rpartition(".")
    family = getattr(import_module(module), name)
    if not isinstance(made, type) or not issubclass(made, family):
        return [f"{where} must be a subclass of {name}, but is {made!r}."]
    if missing := sorted(getattr(made, "__abstractmethods__", ())):
        return [f"{where} must define {quoted(missing)}, which {name} leaves to it."]
    return [f"{where} {bad}" for bad in [*other_calls(made, family), *unreadable(made)]]


def callable_as_its_family(component: plugins.Component) -> Any:
    """The component's class, for a run that names it.

    Raises:
        BrokenPluginError: it cannot be imported, or has a method that cannot be called as its family's are.
    """
    made = component.load()
    if isinstance(made, type) and component.group in plugins.FAMILIES:
        module, _, name = plugins.FAMILIES[component.group].rpartition(".")
        family = getattr(import_module(module), name)
        if issubclass(made, family) and (problems := other_calls(made, family)):
            where = f"`{component.name}` of {component.distribution} ({component.group}, {component.value})"
            raise plugins.BrokenPluginError(f"{where} {problems[0]}")
    return made


def other_calls(made: type, family: type) -> list[str]:
    """Methods that cannot be called as those of the family are."""
    problems = []
    for owner in family.__mro__:
        if not owner.__module__.startswith("unmask."):
            continue
        for name, declared in vars(owner).items():
            redefined = getattr(made, name, None)
            if name.startswith("_") or not inspect.isfunction(declared) or redefined is declared:
                continue
            problems += [f"has `{name}`, which {bad}" for bad in unlike(redefined, inspect.signature(declared))]
    return problems


def unlike(function: Any, asked: inspect.Signature | tuple[str, ...]) -> list[str]:
    """Why ``function`` cannot be called with the arguments ``asked`` for, by place as well as by name."""
    names = tuple(asked) if isinstance(asked, tuple) else tuple(asked.parameters)
    try:
        own = inspect.signature(function)
        own.bind(*names)
        if not isinstance(asked, tuple):  # those with defaults are given by name
            own.bind(
                **{name: None for name, given in asked.parameters.items() if given.kind is given.POSITIONAL_OR_KEYWORD}
            )
    except (TypeError, ValueError) as error:
        return [f"must take ({', '.join(names)}): {error}."]
    return []


def unreadable(made: type) -> list[str]:
    """Why no config can give the arguments of a class."""
    from jsonargparse import ArgumentParser

    try:
        ArgumentParser(exit_on_error=False).add_class_arguments(made, fail_untyped=True)
    except Exception as error:  # of many kinds
        return [f"has arguments that no config can give: {' '.join(str(error).split())}"]
    return []
