"""Arguments of the small commands: argparse, whose complaints are plain sentences."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from unmask.support.checks import inside
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted


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


def whole_number(option: str, word: str, least: int = 1) -> int:
    """The number that ``option`` was given.

    Raises:
        UserError: no whole number, or one below ``least``.
    """
    try:
        value = int(word)
    except ValueError:
        raise UserError(f"`{option}` must be a whole number, but is `{word}`.") from None
    if value < least:
        raise UserError(f"`{option}` must be at least {least}, but is {value}.")
    return value


def number(option: str, word: str, interval: str = "") -> float:
    """The number that ``option`` was given.

    Args:
        option: with its dashes.
        word: what stands behind it.
        interval: where the number must lie, as of `inside`; empty: anywhere.

    Raises:
        UserError: no number, or one outside ``interval``; for a percentage, names the share that may be meant.
    """
    rule = {"": "", "(0, inf)": " above 0"}.get(interval, f" in {interval}")
    hint = ""
    try:
        value = float(word)
        hint = f"; nearest: {value / 100:g}" if 2 <= value < 100 and interval.endswith(("1]", "1)")) else ""
        if interval:
            inside(interval, value=value)
    except ValueError:
        raise UserError(f"`{option}` must be a number{rule}, but is `{word}`{hint}.") from None
    return value


def one_of(option: str, word: str, choices: Sequence[str]) -> str:
    """The word that ``option`` was given.

    Raises:
        UserError: it is not among ``choices``; names the nearest.
    """
    if word not in choices:
        near = quoted(nearest(word, choices) or choices)
        raise UserError(f"`{option}` must be one of {', '.join(choices)}, but is `{word}`; nearest: {near}.")
    return word


def parts_given(word: str | None, known: Sequence[str]) -> list[str] | None:
    """The parts that ``--parts`` names, in the order of ``known``; None where it is not given.

    Raises:
        UserError: samples without parts, no names, or one that is not there.
    """
    if word is None:
        return None
    names = list(dict.fromkeys(name.strip() for name in word.replace("+", ",").split(",") if name.strip()))
    if not known:
        raise UserError(f"`--parts` must be left out for samples of one part, but is `{word}`.")
    if not names:
        raise UserError(f"`--parts` must be some of {', '.join(known)}, but is `{word}`.")
    for name in names:
        one_of("--parts", name, known)
    return [name for name in known if name in names]


def name_of_parts(parts: Sequence[str] | None) -> str:
    """What ends the names of files that are of some parts alone: ``-image``; empty where no parts were chosen."""
    return "".join(f"-{name}" for name in parts or ())


def writable(option: str, path: Path) -> Path:
    """Where results shall go, refused before any work is done for them.

    Raises:
        UserError: a file stands in the way, or its folder may not be written to.
    """
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f"`{option}` must lie in a folder, but `{folder}` is a file.")
    if not os.access(folder, os.W_OK):
        raise UserError(f"`{option}` must lie where files may be written, but `{folder}` is read-only for this user.")
    return path


def checked_device(word: str) -> str:
    """The device that ``--device`` was given.

    Raises:
        UserError: this machine has none of that name.
    """
    import torch

    try:
        torch.empty(0, device=word)
    except (RuntimeError, AssertionError) as error:
        here = [kind for kind in ("cuda", "mps") if getattr(torch, kind).is_available()]
        raise UserError(
            f"`--device` must be one that this machine has, but is `{word}`; there are: {quoted(['cpu', *here])}."
        ) from error
    return word
