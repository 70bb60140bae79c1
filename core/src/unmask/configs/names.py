"""Registered names wherever a class is expected, in configs and on the command line.

jsonargparse finds a class by its path or, among classes already imported, by its bare name. While
`registered_names` is in force it first asks the registry, which knows all installed components
without importing any; then only the one that was named is imported. What class is expected tells
which group is meant: ``cosine`` is a loss where a loss is expected, a schedule where a schedule is.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import util
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import _typehints

from unmask.plugins import registry
from unmask.plugins.inspection import callable_as_its_family
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted


class UnknownClassError(ValueError):
    """A word given where a class is expected names none. A ValueError, so that unions try on."""

    def __init__(self, message: str, base: Any = None, name: str = "") -> None:  # jsonargparse copies by message
        super().__init__(message)
        self.base, self.name = base, name


@contextmanager
def registered_names(failures: list[Exception]) -> Iterator[None]:
    """Let jsonargparse resolve registered names; what cannot be resolved is noted in ``failures``."""
    original = _typehints.resolve_class_path_by_name

    def resolve(base: Any, name: str) -> str:
        try:
            return _resolve(base, name, original)
        except (UnknownClassError, UserError) as error:
            failures.append(error)
            raise

    _typehints.resolve_class_path_by_name = resolve  # type: ignore[assignment]  # there is no public hook
    try:
        yield
    finally:
        _typehints.resolve_class_path_by_name = original


def class_names(base: type) -> list[str]:
    """Names that stand for a ``base``: registered ones of its group, else of imported subclasses."""
    group = registry.group_of(base)
    if group is not None:
        return [component.name for component in registry.components() if component.group == group]
    paths = _typehints.get_all_subclass_paths(base)
    return [path.rpartition(".")[2] for path in paths]


def readable_type(typehint: Any) -> str:
    """What a value must be, in words: ``a number``, ``one of `a`, `b` ``, ``an integer or null``."""
    plain = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    if typehint in plain:
        return plain[typehint]
    origin, arguments = get_origin(typehint), get_args(typehint)
    if origin is Literal:
        return f"one of {quoted(arguments)}"
    if origin in (Union, types.UnionType):
        listed = [str(choice) for a in arguments if get_origin(a) is Literal for choice in get_args(a)]
        parts = [readable_type(argument) for argument in arguments if get_origin(argument) is not Literal]
        parts += [f"one of {quoted(dict.fromkeys(listed))}"] if listed else []
        parts = [part for part in dict.fromkeys(parts) if part != "an integer" or "a number" not in parts]
        return " or ".join(sorted(parts, key=lambda part: part == "null"))
    if origin in (list, tuple, set, Iterable, Sequence):
        inner = [argument for argument in arguments if argument is not ...]
        return f"a list of {readable_type(inner[0])}" if len(set(inner)) == 1 else "a list"
    if isinstance(typehint, type):
        group = registry.group_of(typehint)
        return f"one of the {group.removeprefix('unmask.')}" if group else f"a {typehint.__name__}"
    return str(typehint).replace("typing.", "")


def no_class(base: Any, path: str) -> str:
    """Why a class path does not lead to a ``base``, in a sentence."""
    if _is_pythons_own(base, path):
        return _of_python(base, path)
    try:
        _typehints.import_object(path)
    except Exception as error:  # the module may fail in any way
        return _not_importable(base, path, error)
    return f"`{path}` is not a {base.__name__}."


def _resolve(base: Any, name: str, original: Any) -> str:
    for expected in base if isinstance(base, tuple) else (base,):
        if isinstance(expected, type) and (component := registry.find_for(expected, name)):
            callable_as_its_family(component)
            return component.class_path
    path = str(original(base, name))
    if "." not in path:
        raise UnknownClassError(_unknown(base, name), base, name)
    if _is_pythons_own(base, path):
        raise UnknownClassError(_of_python(base, path), base, name)
    try:
        _typehints.import_object(path)
    except Exception as error:  # the module may fail in any way
        raise UnknownClassError(_not_importable(base, path, error), base, name) from error
    return path


def _is_pythons_own(base: Any, path: str) -> bool:
    """Whether a path leads into the standard library, where no class descends from ours: nothing of it is imported."""
    expected = [one for one in (base if isinstance(base, tuple) else (base,)) if isinstance(one, type)]
    own = any(one.__module__.partition(".")[0] in sys.stdlib_module_names for one in expected)
    return bool(expected) and not own and path.partition(".")[0] in sys.stdlib_module_names


def _of_python(base: Any, path: str) -> str:
    kinds = " or ".join(one.__name__ for one in (base if isinstance(base, tuple) else (base,)) if isinstance(one, type))
    return f"`{path}` is not a {kinds}: `{path.partition('.')[0]}` is a module of Python's own."


def _unknown(base: Any, name: str) -> str:
    group = registry.group_of(base) if isinstance(base, type) else None
    if group is None:
        known = class_names(base) if isinstance(base, type) else []
        near = nearest(name, known)
        kind = getattr(base, "__name__", "class")
        return f"There is no {kind} called `{name}`" + (f"; nearest: {quoted(near)}." if near else ".")
    family = group.removeprefix("unmask.")
    candidates = [component for component in registry.components() if component.group == group]
    if elsewhere := [c for c in registry.matches(name) if c.group != registry.RECIPES]:
        names = quoted(component.name for component in candidates)
        return f"`{name}` is one of the {elsewhere[0].family}, but one of the {family} is expected: {names}."
    return registry.unknown(name, family, candidates)


def _not_importable(base: Any, path: str, error: Exception) -> str:
    """The nearest registered name when the package does not exist, else the nearest in the module."""
    module, _, name = path.rpartition(".")
    try:
        exists = util.find_spec(path.partition(".")[0]) is not None
    except (ImportError, ValueError):
        exists = False
    if not exists and registry.group_of(base) is None:
        return f"There is no class `{path}`: the package `{path.partition('.')[0]}` is not installed."
    if not exists:
        return _unknown(base, path)
    try:
        found = __import__(module, fromlist=[name])
    except Exception:
        near = []
    else:
        near = nearest(name, [n for n, value in vars(found).items() if isinstance(value, type)])
    hint = f"nearest: {quoted(f'{module}.{n}' for n in near)}" if near else " ".join(str(error).split())
    return f"There is no class `{path}`; {hint}."
