"""Arguments of the small commands: argparse, whose complaints are plain sentences."""

from __future__ import annotations

import argparse
from typing import NoReturn

from unmask.nearest import nearest, quoted
from unmask.plugins import UserError


class Arguments(argparse.ArgumentParser):
    """A parser for ``unmask COMMAND``; mistakes raise `UserError` in place of printing the usage."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(prog=f"unmask {command}", description=description, allow_abbrev=False)

    def parse_args(self, args: list[str]) -> argparse.Namespace:  # type: ignore[override]
        """The parsed arguments.

        Raises:
            UserError: an unknown option, or too many or too few words.
            SystemExit: with 0, after printing the help that was asked for.
        """
        parsed, rest = self.parse_known_args(args)
        if rest:
            options = [option for action in self._actions for option in action.option_strings]
            near = nearest(rest[0], options)
            hint = f"nearest: {quoted(near)}" if near else f"see `{self.prog} --help`"
            raise UserError(f"`{self.prog}` takes no `{rest[0]}`; {hint}.")
        return parsed

    def error(self, message: str) -> NoReturn:
        raise UserError(f"`{self.prog}`: {message}; see `{self.prog} --help`.")
