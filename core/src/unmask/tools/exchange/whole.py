"""A whole model in one safetensors file: all of its tensors, its config, and what its checkpoint kept beside them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unmask.runs.weights import Weights, read_weights
from unmask.support.errors import UserError
from unmask.tools.exchange.configs import renamed
from unmask.tools.exchange.format import Export
from unmask.tools.exchange.native import CONFIG, WHOLE, write_native

FILE, CONFIG_FILE, FILES = "model.safetensors", "config.yaml", "files"
"""Names in the folder: the weights, the config for people, and the folder of files that the data is read with."""


@dataclass(frozen=True)
class Whole:
    """What a file of a whole model says beside its tensors.

    Args:
        agreed: what agreements keep with the weights.
        files: what the data is read with, such as a vocabulary: paths here, by their names in the config.
    """

    agreed: dict[str, Any]
    files: dict[str, Path]

    def unpack(self, config: str, part: Path, out: Path) -> str:
        """Copies the files into a run folder, and gives the config with their paths there.

        Args:
            config: its text.
            part: the run folder while it is written.
            out: where it will be.
        """
        names = {}
        for name, file in self.files.items():
            (part / FILES).mkdir(exist_ok=True)
            shutil.copyfile(file, part / name)
            names[name] = str((out / name).absolute())
        for entry in _with_files(self.agreed):
            entry["file"] = names.get(entry["file"], entry["file"])
        return renamed(config, names)


def write_whole(export: Export, folder: Path) -> None:
    """Writes `FILE`, `CONFIG_FILE` and `FILES` into a folder, and reads the weights back.

    An entry of ``agreed`` with a ``file``, such as a vocabulary, takes that file along; the config then names the copy.

    Args:
        export: what is written.
        folder: that is there.

    Raises:
        ValueError: what was written is not the model, or cannot be written.
    """
    agreed: dict[str, Any] = json.loads(_json(export.model.agreed))
    sums: dict[str, str] = {}
    names: dict[str, str] = {}
    for entry in _with_files(agreed):
        source = Path(entry["file"])
        if not source.is_file():
            continue
        name = f"{FILES}/{source.name}"
        if name in sums and names.get(str(source)) != name:
            raise ValueError(f"Files of the run must have names of their own, but there are two `{source.name}`.")
        (folder / FILES).mkdir(exist_ok=True)
        shutil.copyfile(source, folder / name)
        sums[name] = sha256(folder / name)
        names[str(source)] = name
        entry["file"] = name
    config = renamed(export.config, names)
    own = Export(export.model, config, export.seed, export.step, export.batch)
    (folder / CONFIG_FILE).write_text(config, "utf-8")
    write_native(
        export.model.state_dict(), own, folder / FILE, **{WHOLE: json.dumps({"agreed": agreed, "files": sums})}
    )
    back, state = read_weights(folder / FILE).tensors, export.model.state_dict()
    changed = [name for name, tensor in state.items() if not _same(back.get(name), tensor)]
    if changed:
        raise ValueError(f"The file must give back every tensor as it was, but does not: `{changed[0]}`.")


def read_whole(weights: Weights) -> Whole | None:
    """What a file of a whole model says beside its tensors; None: it is none.

    Raises:
        UserError: what lies beside it is not what was written with it.
    """
    if WHOLE not in weights.metadata:
        return None
    try:
        told = json.loads(weights.metadata[WHOLE])
        agreed, sums = dict(told["agreed"]), dict(told["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"`{weights.file}` is damaged: its `{WHOLE}` is not what `unmask push` writes.") from None
    folder, files = weights.file.parent, {}
    for name, sum_ in sums.items():
        file = folder / FILES / Path(name).name
        if f"{FILES}/{file.name}" != name or not file.is_file() or sha256(file) != sum_:
            raise UserError(f"`{folder}` must have the `{name}` that `{weights.file.name}` was written with.")
        files[name] = file
    config = folder / CONFIG_FILE
    if config.is_file() and config.read_bytes().decode("utf-8", "replace") != weights.metadata.get(CONFIG):
        raise UserError(
            f"`{config}` must be the config that `{weights.file.name}` was written with, but is another; "
            f"`--config {config}` takes it all the same."
        )
    return Whole(agreed, files)


def sha256(file: Path) -> str:
    """The sum of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _with_files(agreed: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Entries that name a file."""
    for entry in agreed.values():
        if isinstance(entry, dict) and isinstance(entry.get("file"), str):
            yield entry


def _json(agreed: dict[str, Any]) -> str:
    try:
        return json.dumps(agreed)
    except (TypeError, ValueError) as error:
        raise ValueError(f"What agreements keep must be numbers, texts, lists and dicts of them: {error}.") from error


def _same(one: torch.Tensor | None, other: torch.Tensor) -> bool:
    return one is not None and one.dtype == other.dtype and torch.equal(one, other.cpu())
