"""YAML that anybody may have written: looked at before it is loaded, so that no file hangs a command or floods it.

YAML can say "the same again" (``&name``, ``*name``). A page of that is a billion values, or one that holds itself, as
soon as something walks over it. So `parse_yaml` walks over what stands there first, and counts what it would become.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from unmask.support.errors import UserError

LONGEST = 10 * 2**20
"""Bytes of a file that are read."""
DEEPEST = 100
"""Lists and mappings within each other."""
MOST_VALUES = 100_000
"""Values, with those that ``*name`` repeats."""
MOST_TAGS = 100
"""``%TAG`` lines, whose number libyaml squares."""
MOST_DIGITS = 1000
"""Of a number; YAML 1.1 has numbers such as ``1:30:00``, which take the longer the more digits they have."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WRONG = (yaml.YAMLError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What PyYAML raises for values that are not what they are said to be, such as ``!!int x`` or ``2001-99-99``."""


def read_yaml(path: Path | str, name: str | None = None) -> Any:
    """What a YAML file holds.

    Args:
        path: the file.
        name: what it is called in a message; None: its path.

    Raises:
        UserError: no regular file, no text, or as `parse_yaml`.
    """
    path, name = Path(path), name or str(path)
    if not path.is_file():  # a pipe or a device would never end
        raise UserError(f"`{name}` must be a file, but {'is none' if path.exists() else 'is not there'}.")
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        text = content.decode("utf-8", "strict" if len(content) <= LONGEST else "replace")
    except UnicodeDecodeError as error:
        raise UserError(f"`{name}` is not valid YAML: it is no UTF-8 text, {error.reason}.") from error
    except OSError as error:
        raise UserError(f"`{name}` cannot be read: {error.strerror}.") from error
    return parse_yaml(text, name)


def parse_yaml(text: str, name: str) -> Any:
    """What a YAML text holds; None where it is empty.

    Args:
        text: one document.
        name: what it is called in a message.

    Raises:
        UserError: text that is not YAML, is above 10 MB, has a key twice, holds itself, is nested deeper than 100
            lists and mappings, holds more than 100,000 values, aliases in full, or a number of more than 1,000 digits.
    """
    try:
        _check(text, name)
        return yaml.load(text, _Loader)
    except _WRONG as error:
        raise UserError(f"`{name}` is not valid YAML: {' '.join(str(error).split()):.300}") from error


def checked(load: Callable[[str], Any]) -> Callable[[str], Any]:
    """A loader of jsonargparse that looks at YAML first: options, and configs themselves, may name more files."""

    def look_first(text: str) -> Any:
        _check(text, " ".join(text[:40].split()))
        return load(text)

    return look_first


@dataclass
class _Node:
    """A list or mapping that is being read: what it holds so far, aliases in full."""

    anchor: str | None
    is_mapping: bool
    size: int = 1
    height: int = 0
    num_children: int = 0
    keys: dict[str, int] = field(default_factory=dict)

    def take(self, size: int, height: int) -> None:
        self.size += size
        self.height = max(self.height, height + 1)
        self.num_children += 1


def _check(text: str, name: str) -> None:
    if len(text) > LONGEST:
        raise UserError(f"`{name}` must be at most {LONGEST // 2**20} MB to be read as YAML, but is larger.")
    if text.count("%TAG") > MOST_TAGS:
        raise UserError(f"`{name}` must have at most {MOST_TAGS} `%TAG` lines, but has {text.count('%TAG'):,}.")
    open_nodes, anchors, num_values = [_Node(None, False)], dict[str, tuple[int, int]](), 0
    for event in yaml.parse(text, _Loader):
        node, line, size, height = open_nodes[-1], event.start_mark.line + 1, 1, 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append(_Node(event.anchor, isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            open_nodes.pop()
            if node.anchor is not None:
                anchors[node.anchor] = node.size, node.height
            open_nodes[-1].take(node.size, node.height)
            continue
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MOST_DIGITS and re.fullmatch(r"[-+]?[0-9][0-9_:.]*", event.value):
                raise UserError(f"`{name}` has a number of {len(event.value):,} digits in line {line}.")
            if node.is_mapping and node.num_children % 2 == 0 and event.value != "<<":
                _check_key(event.value, node.keys, name, line)
            if event.anchor is not None:
                anchors[event.anchor] = size, height
            node.take(size, height)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors and any(event.anchor == one.anchor for one in open_nodes):
                raise UserError(f"`{name}` must not hold itself, but `*{event.anchor}` does so in line {line}.")
            size, height = anchors.get(event.anchor, (1, 0))  # an unknown one is refused on loading
            node.take(size, height)
        else:
            continue
        num_values += size
        if num_values > MOST_VALUES:
            raise UserError(
                f"`{name}` must hold at most {MOST_VALUES:,} values, aliases in full, but holds more up to line {line}."
            )
        if len(open_nodes) - 1 + height > DEEPEST:
            raise UserError(f"`{name}` must not be nested deeper than {DEEPEST} levels, but is so in line {line}.")


def _check_key(key: str, lines: dict[str, int], name: str, line: int) -> None:
    """Refuses a key that its mapping has already: of two, PyYAML takes the last without a word."""
    if key in lines:
        raise UserError(f"`{name}` has the key `{key:.100}` twice, in lines {lines[key]} and {line}; drop one of them.")
    lines[key] = line
