"""``unmask show``: a component's description and arguments, or a recipe's text."""

from __future__ import annotations

import inspect
from typing import Any

from unmask.plugins import registry
from unmask.support.arguments import Arguments


def run(command: str, arguments: list[str]) -> int:
    """Print everything that is called by the given name."""
    parser = Arguments(command, "A component's description and arguments, or a recipe's text.")
    parser.add_argument("name", help="a registered name, a class name or a class path")
    name = parser.parse_args(arguments).name

    found = registry.matches(name) or [registry.find(name)]
    if len({component.group for component in found}) < len(found):
        found = [registry.find(name)]
    print("\n\n".join(_recipe(c) if c.group == registry.RECIPES else _component(c) for c in found))
    return 0


def _recipe(component: registry.Component) -> str:
    path = component.path()
    return f"# {component.name}: recipe of {component.distribution}, {path}\n{path.read_text().rstrip()}"


def _component(component: registry.Component) -> str:
    cls = component.load()
    parts = [f"{component.name}: one of the {component.family} of {component.distribution}, {component.class_path}"]
    if text := inspect.getdoc(cls):
        parts.append(text)
    if isinstance(cls, type) and (rows := _arguments(cls)):  # a command is a function
        width = max(len(row[0]) for row in rows)
        lines = ["Arguments"]
        for name, rest, about in rows:
            lines.append(f"  {name:{width}}  {rest}")
            if about and f"\n    {name}: " not in (text or ""):  # a parent describes it
                lines.append(f"  {'':{width}}    {' '.join(about.split())}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _arguments(cls: type) -> list[tuple[str, str, str]]:
    """Name, type with default, and description of each argument, also those that ``**kwargs`` pass on."""
    from jsonargparse import ArgumentParser

    from unmask.configs.names import readable_type

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, fail_untyped=False)
    required = parser.required_args if hasattr(parser, "required_args") else set()
    rows = []
    for action in parser._actions:
        typehint = getattr(action, "_typehint", None)
        if typehint is None or "." in action.dest:
            continue
        must = action.required or action.dest in required
        rows.append(
            (
                action.dest,
                readable_type(typehint) + (", required" if must else f" = {_plain(action.default)}"),
                action.help or "",
            )
        )
    return rows


def _plain(default: Any) -> str:
    """A default as it would be written: ``RandomMask(ratio=0.75)``, ``0.6``, ``None``."""
    if hasattr(default, "as_dict"):
        default = default.as_dict()
    if isinstance(default, dict) and "class_path" in default:
        arguments = ", ".join(f"{k}={_plain(v)}" for k, v in (default.get("init_args") or {}).items())
        return f"{default['class_path'].rpartition('.')[2]}({arguments})"
    return repr(default)
