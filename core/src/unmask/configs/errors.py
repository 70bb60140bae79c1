"""Plain sentences for what jsonargparse and Lightning say at length.

jsonargparse wraps an error once per level of nesting. `explain` follows the chain of causes to the
innermost one, collecting the key on the way and the parser that knew the valid choices.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from importlib import import_module, util
from itertools import pairwise
from typing import Any, ClassVar, Literal, NoReturn, get_args, get_origin

import yaml
from jsonargparse import get_loader, set_loader
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from unmask.configs.names import UnknownClassError, class_names, readable_type
from unmask.plugins import registry
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted
from unmask.support.yaml_files import checked

set_loader("yaml", checked(get_loader("yaml")), (yaml.YAMLError,))


class Parser(LightningArgumentParser):
    """Lightning's parser, whose errors remember which parser raised them.

    jsonargparse makes one for every nested class, so ``failures`` is shared by all: unions keep the
    text of what their members raised but not the errors themselves.
    """

    failures: ClassVar[list[Exception]] = []

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        error = argparse.ArgumentError(None, message)
        error.parser = self  # type: ignore[attr-defined]
        self.failures.append(error)
        raise error from ex


def explain(error: argparse.ArgumentError, words: Sequence[str], model_keys: Sequence[str]) -> str:
    """What is wrong, what was given, and the nearest valid choice.

    Args:
        error: what the parser raised.
        words: the command line, to tell options from config keys.
        model_keys: keys of the chosen model and data classes, for options that lack their prefix.
    """
    path, parser, typehint, cause, unions = _innermost(error)
    text = str(cause)
    label = _label(path, words)

    if isinstance(cause, UserError):
        return str(cause)
    if isinstance(cause, UnknownClassError):
        if "." in cause.name and registry.group_of(cause.base) is None:  # a class path, so no other kind of value
            return f"`{label}`: {cause}"
        others = set(get_args(typehint) if unions else ()) & {int, float, str, bool}
        families = [one for one in get_args(typehint) if isinstance(one, type) and registry.group_of(one)]
        known = [name for one in families or [cause.base] if isinstance(one, type) for name in class_names(one)]
        near = nearest(cause.name, known)
        if others or (not near and registry.group_of(cause.base) is None):
            return _wrong_value(label, typehint, cause.name, near)
        return f"`{label}`: {cause}"
    if match := re.match(r"unrecognized arguments: ([^-].*)", text):
        return f"`{match[1].split()[0]}` is neither an option nor the value of one: options start with `--`."
    if unknown := _unknown_key(text):
        unknown = unknown.removesuffix(".class_path")
        full = ".".join([*path, unknown])
        return _unknown_option(_label([full], words), [*path], unknown, parser, model_keys)
    if match := re.search(r"arguments? (?:are|is) required: (.+)", text):
        below = [*path, *_item_of(str(error))]
        return _missing([".".join([*below, key]) for key in match[1].split(", ")])
    if "expected one argument" in text or "expected at least one argument" in text:
        bare = [a for a, b in pairwise([*words, "--"]) if a.startswith("--") and "=" not in a and b.startswith("--")]
        return f"`{bare[-1] if bare else label}` needs a value."
    if match := re.search(r"(?:Got value|Given value): (.*?)(?:\nSubclass types expect|$)", text, re.S):
        return _wrong_value(label, typehint, match[1], [])
    where = f"`{label}`: " if path else ""
    return where + _first_line(text)


def _item_of(text: str) -> list[str]:
    """The name of the part, where an error is about one of several under names, which the parser does not say."""
    about = re.findall(r"Problem with given class_path '([\w.]+)'", text)
    items = about and re.findall(rf"'(\w+)': Namespace\(class_path='{re.escape(about[-1])}'", text)
    return items if len(set(items)) == 1 else []


def is_mistake(error: BaseException, running: bool) -> bool:
    """Whether an error is the user's to put right, and its message enough to do so.

    Before the first batch, every ValueError and OSError is taken for one. Later, only those that a
    component raises itself: one from inside torch is a bug whose traceback is wanted.
    """
    if isinstance(error, UserError | MisconfigurationException):
        return True
    if (isinstance(error, RuntimeError) and _MISFIT in str(error)) or missing_package(error):
        return True
    if isinstance(error, TypeError) and _raised_in(error).startswith("lightning.pytorch.strategies."):
        return not running  # a strategy that the model is not made for
    if not isinstance(error, ValueError | OSError) or isinstance(error, BrokenPipeError):
        return False
    return not running or _raised_by_a_component(error)


def message_of(error: BaseException, needed_by: str = "") -> str:
    """An error's message, without the traceback that a data-loading process wraps around it.

    Args:
        error: what was raised.
        needed_by: the class that was being made, if any.
    """
    text = str(error)
    if "Original Traceback" in text:
        text = text.strip().splitlines()[-1].partition(": ")[2]
    if _MISFIT in text:
        cause = next((line for line in text.splitlines()[1:] if line.strip()), "")
        return f"The checkpoint does not fit the model:{cause.replace(chr(9), ' ')}"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"`{error.filename}`: {error.strerror}."
    if missing := missing_package(error):
        return f"{f'`{needed_by}`' if needed_by else 'This'} needs {missing}"
    return " ".join(text.split()) or type(error).__name__


def missing_package(error: BaseException) -> str | None:
    """The package that is not installed and how to get it, when that is what ``error`` says; else None."""
    if not isinstance(error, ImportError):
        return None
    told = re.search(r"Requirement '([^']+)' not met", str(error)) or re.search(
        r"pip install (?:-U |--upgrade )?['\"]?([a-z][\w.\[\]<>=~!,-]*\w)", str(error), re.I
    )
    if told:
        return f"the package `{told[1]}`: pip install '{told[1]}'."
    name = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not name or util.find_spec(name):
        return None
    return f"the package `{name}`, which is not installed."


_MISFIT = "Error(s) in loading state_dict"
"""How torch begins when a checkpoint is another model's."""


def keys_of(cls: type, depth: int = 2) -> list[str]:
    """Keys that configure ``cls``, with those of its parts' default classes."""
    parser = Parser(exit_on_error=False)
    parser.add_class_arguments(cls, fail_untyped=False)
    keys = []
    for action in _options(parser):
        keys.append(action.dest)
        default = action.default if isinstance(action.default, dict) else getattr(action.default, "__dict__", {})
        if depth > 1 and isinstance(default.get("class_path"), str):
            module, _, name = default["class_path"].rpartition(".")
            part = getattr(import_module(module), name)
            keys += [f"{action.dest}.{key}" for key in keys_of(part, depth - 1)]
    return keys


def _innermost(error: BaseException) -> tuple[list[str], Parser | None, Any, BaseException, bool]:
    """Key, parser, expected type and cause of the innermost error, and whether it came from a union."""
    path: list[str] = []
    parser: Parser | None = None
    typehint: Any = None
    seen: list[BaseException] = []
    current, in_union = error, False
    while True:
        seen.append(current)
        if isinstance(current, argparse.ArgumentError):
            parser = getattr(current, "parser", parser)
        elif isinstance(current, TypeError) and (match := re.match(r'Parser key "([^"]+)"', str(current))):
            path.append(match[1])
            in_union = False
            actions = [a for a in _options(parser) if a.dest == match[1]] if parser else []
            typehint = getattr(actions[0], "_typehint", None) if actions else None
        inner: BaseException | None = None if isinstance(current, UserError) else current.__cause__
        if str(current).startswith("Does not validate against any of the Union"):
            in_union = True
            text = _letters(current)
            inner = next((e for e in reversed(Parser.failures) if e not in seen and _letters(e)[:60] in text), None)
        if inner is None or inner in seen or not isinstance(inner, _TELLING):
            return path, parser, typehint, current, in_union
        told = _unknown_key(str(current)) is not None and _unknown_key(str(inner)) is None
        if told or getattr(current, "base", None) is not None:
            return path, parser, typehint, current, in_union
        current = inner


_TELLING = (argparse.ArgumentError, TypeError, ValueError, KeyError, UserError)


def _options(parser: Any) -> list[Any]:
    skipped = ("help", "print_config", "print_shtab", argparse.SUPPRESS)
    options = [action for action in parser._actions if action.option_strings]
    return [a for a in options if a.dest not in skipped and not a.dest.endswith(".help")]


def _unknown_key(text: str) -> str | None:
    """The option or config key that ``text`` says is unknown."""
    if match := re.match(r"unrecognized arguments: (.*)", text, re.S):
        words = match[1].split()
        word = next((word for word in words if word.startswith("-")), words[0])
        return word.lstrip("-").partition("=")[0]
    if match := re.match(r"Group '([^']*)' does not accept option '([^']*)'", text):
        return f"{match[1]}.{match[2]}"
    match = re.match(r"Option '([^']*)' is not accepted", text)
    return match[1] if match else None


def _unknown_option(label: str, path: list[str], name: str, parser: Any, model_keys: Sequence[str]) -> str:
    siblings = [action.dest for action in _options(parser)] if parser else []
    near = _nearest_keys(name, siblings)
    near = [".".join([*path, key]) for key in near]
    if not near and not path:
        near = _nearest_keys(name, model_keys) or _same_leaf(name, [*siblings, *model_keys])
    dashes = "--" if label.startswith("--") else ""
    what = "option" if dashes else "config key"
    if near:
        return f"There is no {what} `{label}`; nearest: {quoted(dashes + key for key in near)}."
    known = name.split(".")[:-1]
    children = _children(known, siblings) if len(known) < 2 else []
    if not 0 < len(children) <= 12:
        return f"There is no {what} `{label}`; see `--help`."
    there = quoted(dashes + ".".join([*path, *known, child]) for child in children)
    return f"There is no {what} `{label}`; there are: {there}."


def _nearest_keys(name: str, keys: Sequence[str]) -> list[str]:
    """``name`` with its first wrong part replaced by the nearest right ones."""
    parts = name.split(".")
    for depth, part in enumerate(parts):
        children = _children(parts[:depth], keys)
        if part not in children:
            return [".".join([*parts[:depth], near, *parts[depth + 1 :]]) for near in _close(part, children)]
    return []


def _children(prefix: list[str], keys: Sequence[str]) -> list[str]:
    split = [key.split(".") for key in keys]
    depth = len(prefix)
    return sorted({parts[depth] for parts in split if parts[:depth] == prefix and len(parts) > depth})


def _same_leaf(name: str, keys: Sequence[str]) -> list[str]:
    """Keys whose last part is like that of ``name``: it may only lack what stands before."""
    leaves: dict[str, list[str]] = {}
    for key in sorted(keys, key=lambda key: key.count(".")):
        leaves.setdefault(key.rpartition(".")[2], []).append(key)
    near = _close(name.rpartition(".")[2], leaves)
    return [leaves[leaf][0] for leaf in near]


def _close(word: str, choices: Any) -> list[str]:
    return difflib.get_close_matches(word.replace("-", "_"), list(dict.fromkeys(choices)), n=2, cutoff=0.6)


def _missing(keys: list[str]) -> str:
    groups = {"model": "unmask.methods", "data": "unmask.data"}
    told = []
    for key in keys:
        names = [c.name for c in registry.components() if c.group == groups.get(key)]
        told.append(f"`--{key}` is required" + (f": {quoted(names)}." if names else "."))
    return "\n".join(told)


_OF_NOTHING = re.compile(r"NestedArg\(key='([^']*)', ")
"""What jsonargparse has for an option of a part that is not named."""


def _wrong_value(label: str, typehint: Any, given: str | None, near: list[str]) -> str:
    if given is not None and (option := _OF_NOTHING.match(given)):
        part = f"--{label.removeprefix('--')}"
        return f"`{part}.{option[1]}` must come after `{part} NAME`, which names the part that it is an option of."
    choices = _choices(typehint)
    near = near or (nearest(given, choices) if given else [])
    if near and len(choices) > 6:  # too many to list when the nearest is known
        return f"`{label}` cannot be {' '.join(str(given).split())!r}; nearest: {quoted(near)}."
    must = f"`{label}` must be {readable_type(typehint)}" if typehint is not None else f"`{label}` is wrong"
    told = must + (f", but is {' '.join(given.split())!r}" if given is not None else "")
    return told + (f"; nearest: {quoted(near)}." if near else ".")


def _choices(typehint: Any) -> list[str]:
    """Words that a value may be, as far as its type lists them."""
    if get_origin(typehint) is Literal:
        return [str(choice) for choice in get_args(typehint)]
    if typehint is bool:
        return ["true", "false"]
    return [choice for argument in get_args(typehint) for choice in _choices(argument)]


def _label(path: list[str], words: Sequence[str]) -> str:
    """``--model.mask`` when the command line has it (or all that is given is one), else the config key."""
    key = ".".join(path)
    given = [word.partition("=")[0].removesuffix("+") for word in words]
    return f"--{key}" if f"--{key}" in given else key


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "The command line cannot be understood."


def _letters(error: BaseException) -> str:
    return re.sub(r"\W+", "", str(error))


def _raised_by_a_component(error: BaseException) -> bool:
    packages = {"unmask"} | {component.value.partition(".")[0] for component in registry.components()}
    if "Original Traceback" in str(error):
        files = re.findall(r'File "([^"]+)"', str(error))
        return bool(files) and any(f"/{package}/" in files[-1].replace("\\", "/") for package in packages)
    return _raised_in(error).partition(".")[0] in packages


def _raised_in(error: BaseException) -> str:
    """The module whose code raised ``error``."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")) if trace else ""
