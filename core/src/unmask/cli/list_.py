"""``unmask list``: what is installed, read from package metadata, and of methods from the first line of their file."""

from __future__ import annotations

from unmask.plugins import registry
from unmask.support.arguments import Arguments
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted


def run(command: str, arguments: list[str]) -> int:
    """Print one line per component: its name, where it is, who brings it, and the paper of a method."""
    parser = Arguments(command, "What is installed, and from which paper a method is. Nothing is imported.")
    parser.add_argument("group", nargs="?", help="methods, masks, encoders, data, recipes, ...; default: all")
    chosen = parser.parse_args(arguments).group

    rows = [c for c in registry.components() if chosen is None or c.group == group_name(chosen)]
    clashing = {component for several in registry.clashes() for component in several}
    width = max((len(c.name) for c in rows), default=0)
    last = None
    for c in rows:
        if c.group != last:
            print(("" if last is None else "\n") + c.family)
            last = c.group
        note = "  (claimed by several, see `unmask doctor`)" if c in clashing else ""
        paper = c.paper() if c.group == "unmask.methods" else ""
        print(f"  {c.name:{width}}  {c.value}  [{c.distribution}]{note}{f'  {paper}' if paper else ''}")
    return 0


def group_name(word: str) -> str:
    """The entry-point group that ``word`` means: ``masks``, ``mask`` and ``unmask.masks`` are one.

    Raises:
        UserError: there is no such group.
    """
    names = registry.groups()
    short = word.removeprefix("unmask.")
    if short in names or short + "s" in names:
        return "unmask." + (short if short in names else short + "s")
    near = nearest(short, names)
    hint = f"nearest: {quoted(near)}" if near else f"there are: {quoted(names)}"
    raise UserError(f"There is no group `{word}`; {hint}.")
