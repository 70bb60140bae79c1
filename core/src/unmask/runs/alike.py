"""Whether two objects were made alike, by their classes and what they were made with; and how a config would say it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from unmask.data import Source

LOADING = ("batch_size", "val_batch_size", "num_workers", "drop_last")
"""Arguments of a data module that say how it is read, not what."""
DEEPEST = 6
"""Objects within each other that are looked at."""


def arguments_of(made: Any) -> dict[str, Any] | None:
    """What a data module or a source was made with, defaults included; None for one that does not keep it.

    Where a class passes ``**shared`` on to its parent, the parent's arguments count, as jsonargparse finds them.
    """
    given = getattr(made, "_given", None)
    if given is None:
        return None
    signature = inspect.signature(type(made))
    bound = signature.bind(*given[0], **given[1])
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    shared = [name for name, one in signature.parameters.items() if one.kind is one.VAR_KEYWORD]
    return arguments if not shared else _defaults(type(made)) | arguments.pop(shared[0]) | arguments


def _defaults(kind: type) -> dict[str, Any]:
    """Defaults of all arguments that a config may give, those of parents included."""
    parser = ArgumentParser(exit_on_error=False)
    names = [name.partition(".")[2] for name in parser.add_class_arguments(kind, "made", fail_untyped=False)]
    known: dict[str, Any] = {}
    for one in kind.__mro__:
        if "__init__" in vars(one):
            parameters = inspect.signature(vars(one)["__init__"]).parameters.values()
            known = {each.name: each.default for each in parameters if each.default is not each.empty} | known
    return {name: known[name] for name in names if name in known}


def difference(theirs: Any, mine: Any) -> str | None:
    """How ``theirs`` was made otherwise than ``mine``, in words; None: alike.

    Data modules are compared by their arguments, other objects by those attributes that are public. How a data module
    loads (`LOADING`) does not count. Paths are compared by the files that they lead to.
    """
    one, other = (_plain(made) for made in (theirs, mine))
    if one == other:
        return None
    if not isinstance(one, dict) or not isinstance(other, dict) or one["class"] != other["class"]:
        return f"{type(theirs).__name__} instead of {type(mine).__name__}"
    names = [name for name in (one | other) if one.get(name) != other.get(name)]
    return " and ".join(f"`{name}` {_short(one.get(name))} instead of {_short(other.get(name))}" for name in names[:2])


def config_of(made: Any) -> dict[str, Any]:
    """``class_path`` and ``init_args`` that make a data module again, and its source.

    Raises:
        ValueError: it was made with something that a config cannot say; names it.
    """
    kind, arguments = type(made), arguments_of(made)
    if arguments is None or "<" in kind.__qualname__ or kind.__module__ == "__main__":
        raise ValueError(f"a config cannot name the class {kind.__name__}")
    init_args = {}
    for name, value in arguments.items():
        try:
            init_args[name] = _written(value)
        except TypeError:
            raise ValueError(f"a config cannot say `{name}`, a {type(value).__name__}") from None
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": init_args}


def _plain(value: Any, depth: int = 0) -> Any:
    """Numbers, words, and lists and dicts of them, which can be compared."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | os.PathLike):
        path = Path(value).expanduser()
        return os.path.realpath(path) if os.path.exists(path) else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one, depth) for one in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, Mapping):
        return {str(name): _plain(one, depth) for name, one in value.items()}
    if isinstance(value, type) or (isinstance(value, Callable) and hasattr(value, "__qualname__")):  # type: ignore[arg-type]
        return f"{value.__module__}.{value.__qualname__}"
    found = {"class": _plain(type(value))}
    if depth == DEEPEST:
        return found
    arguments = arguments_of(value)
    if arguments is None:
        arguments = {name: one for name, one in vars(value).items() if not name.startswith("_") and name != "training"}
    return found | {name: _plain(one, depth + 1) for name, one in arguments.items() if name not in LOADING}


def _written(value: Any) -> Any:
    """As YAML has it."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [_written(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _written(one) for name, one in value.items()}
    if isinstance(value, Source):
        return config_of(value)
    raise TypeError


def _short(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."
