"""Objects that know what they were made with, so that a config can say it."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any, Self, TypeVar


class Remembered:
    """Keeps what an object was made with. jsonargparse takes a class's own ``__new__`` for its constructor, so this one
    is inherited.
    """

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        object.__setattr__(made, "_given", (args, kwargs))  # torch takes none before a module is made
        return made


Part = TypeVar("Part", bound=Remembered)


def made_again(part: Part) -> Part:
    """Another object that is made with the same arguments: of a part, one with weights of its own.

    Arguments that are such objects themselves, alone or in a dict or list, are made again as well.
    """
    args, kwargs = part._given
    return type(part)(*(_again(one) for one in args), **{name: _again(one) for name, one in kwargs.items()})


def _again(value: Any) -> Any:
    if isinstance(value, Remembered):
        return made_again(value)
    if type(value) is dict:
        return {name: _again(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_again(one) for one in value)
    return value


def as_config(value: Any) -> Any:
    """``class_path`` and ``init_args`` of parts and schedules, alone or in a dict or list; other values as they are."""
    kind = type(value)
    if kind is dict:
        return {name: as_config(one) for name, one in value.items()}
    if kind is list:
        return [as_config(one) for one in value]
    if isinstance(value, Remembered):
        args, kwargs = value._given
        given = inspect.signature(kind).bind(*args, **kwargs).arguments if args else kwargs
    elif is_dataclass(value) and not all(map(is_dataclass, kind.__mro__[:-1])):  # jsonargparse inlines the others
        given = {one.name: getattr(value, one.name) for one in fields(value)}
    else:
        return value
    config: dict[str, Any] = {"class_path": f"{kind.__module__}.{kind.__qualname__}"}
    if given:
        config["init_args"] = {name: as_config(one) for name, one in given.items()}
    return config
