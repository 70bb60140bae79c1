"""Files of counts: arrays with a note of what was counted, and with which vocabulary."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unmask.data import check_archive
from unmask_text.vocabulary import vocabulary


@dataclass(frozen=True, eq=False)
class Table:
    """What was counted.

    Args:
        path: of the file.
        about: settings and numbers, ``vocabulary`` (its fingerprint) among them.
        arrays: by name.
    """

    path: Path
    about: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def check(self, path: str | None) -> None:
        """That the vocabulary of a batch is the one that was counted with.

        Raises:
            ValueError: it is another.
        """
        if path is not None and vocabulary(path).fingerprint != self.about["vocabulary"]:
            raise ValueError(f"`counts` must be counted with the data's vocabulary {path}, but {self.path} is not.")


def write_table(path: Path, kind: str, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    note = np.array(json.dumps({"kind": kind, **about}))
    with part.open("wb") as file:
        np.savez(file, allow_pickle=False, about=note, **arrays)
    os.replace(part, path)


def read_table(path: str | Path, kind: str) -> Table:
    """What `write_table` wrote.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    file = Path(path).expanduser()
    how = f"`python -m unmask_text.counting {kind}` writes one"
    if not file.is_file():
        raise ValueError(f"`counts` must be a file of {kind}, but there is none at `{path}`; {how}.")
    try:
        check_archive(file)
        with np.load(file, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
        about = json.loads(str(arrays.pop("about")))
    except Exception as error:  # numpy and zipfile raise many kinds on what is no such file
        raise ValueError(f"`counts` must be a file of {kind}, but `{path}` cannot be read as one; {how}.") from error
    if about.get("kind") != kind:
        raise ValueError(f"`counts` must be a file of {kind}, but `{path}` holds {about.get('kind')}; {how}.")
    return Table(file, about, arrays)
