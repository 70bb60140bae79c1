"""What the commands of this package share: data by its YAML, and the frame of a command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from unmask.api import INTERRUPTED, MISTAKE, RECIPES, UserError, complain, find

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
    from unmask.api import build_data
    from unmask_text.data.text import TextData

    path = Path(name) if Path(name).is_file() else find(name, RECIPES).path()
    data = build_data(path)
    if not isinstance(data, TextData):
        raise UserError(f"`data` of `{path}` must be text, but is a {type(data).__name__}.")
    return data
