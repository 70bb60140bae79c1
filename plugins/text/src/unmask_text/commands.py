"""What the commands of this package share: data by its YAML, and the frame of a command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from unmask.cli import INTERRUPTED, MISTAKE, complain
from unmask.plugins import RECIPES, UserError, find

if TYPE_CHECKING:
    from unmask_text.data.text import TextData


def console(name: str, run: Callable[[str, list[str]], int]) -> NoReturn:
    """Run ``python -m ...``: mistakes are told in a line or two, as ``unmask`` does."""
    try:
        sys.exit(run(name, sys.argv[1:]))
    except UserError as error:
        complain(str(error))
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        complain("Interrupted.")
        sys.exit(INTERRUPTED)


def data_of(name: str) -> TextData:
    """The data module of a recipe or of a YAML file.

    Raises:
        UserError: there is no such file, or its ``data`` is no text.
    """
    import lightning as L

    from unmask.cli.errors import Parser, is_mistake, plain
    from unmask.cli.names import registered_names
    from unmask.configs import read_yaml
    from unmask_text.data.text import TextData

    path = Path(name) if Path(name).is_file() else find(name, RECIPES).path()
    content = read_yaml(path)
    if not isinstance(content, dict) or "data" not in content:
        raise UserError(f"`{path}` must have a `data` entry, but has none.")
    parser = Parser(exit_on_error=False)
    parser.add_lightning_class_args(L.LightningDataModule, "data", subclass_mode=True)
    try:
        with registered_names(Parser.failures):
            data = parser.instantiate(parser.parse_object({"data": content["data"]}))["data"]
    except argparse.ArgumentError as error:
        raise UserError(f"`{path}` cannot be used: {' '.join(str(error).split())[:300]}") from error
    except Exception as error:
        if is_mistake(error, running=False):
            raise UserError(plain(error)) from error
        raise
    if not isinstance(data, TextData):
        raise UserError(f"`data` of `{path}` must be text, but is a {type(data).__name__}.")
    return data
