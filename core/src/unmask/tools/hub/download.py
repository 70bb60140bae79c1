"""A repository of the Hub as a folder of this machine: the files of weights, each compared with what the Hub lists."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from unmask.runs.weights import IN_FOLDERS
from unmask.support.errors import UserError
from unmask.support.nearest import quoted
from unmask.tools.exchange.whole import CONFIG_FILE, FILES
from unmask.tools.hub.library import SCHEME, Repository, endpoint, library, told_plainly, unreachable

WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
"""Endings of files of weights."""
BESIDE = (".json", ".txt", ".model")
"""Of what describes them: configs, vocabularies. Nothing else is read, no code above all."""
TIMEOUT = 20.0
"""Seconds to wait for the list of files."""


class Copy(NamedTuple):
    """A repository on this machine.

    Args:
        folder: in the cache of the Hub's library; to be read alone.
        origin: the repository with its commit.
    """

    folder: Path
    origin: str


def download(repository: Repository) -> Copy:
    """The files of a repository that weights are read from; those that lie in the cache are not read again.

    Without network, a copy in the cache counts.

    Raises:
        UserError: there is no such repository or revision, it has no weights, it cannot be reached, or a file is not
            what the Hub lists.
    """
    hub = library()
    with told_plainly(repository):
        try:
            folder = _download(hub, repository)
        except Exception as error:  # of many libraries
            if not unreachable(error):
                raise
            known = (
                hub.try_to_load_from_cache(repository.name, name, revision=repository.revision) for name in IN_FOLDERS
            )
            there = next((found for found in known if isinstance(found, str)), None)
            if there is None:
                raise
            folder = Path(there).parent
    return Copy(folder, f"{SCHEME}{repository.name}@{folder.name}")


def _download(hub: Any, repository: Repository) -> Path:
    info = hub.HfApi(endpoint=endpoint()).model_info(
        repository.name, revision=repository.revision, files_metadata=True, timeout=TIMEOUT
    )
    listed = {file.rfilename: file for file in info.siblings or []}
    names = wanted(list(listed), repository)
    folder = Path(
        hub.snapshot_download(
            repository.name, revision=repository.revision, endpoint=endpoint(),
            allow_patterns=[_literally(name) for name in names],
        )
    )  # fmt: skip
    if folder.name != info.sha:
        raise UserError(f"`{repository}` has changed while it was read; try again.")
    for name in names:
        _check(folder / name, listed[name], repository)
    return folder


def wanted(names: list[str], repository: Repository) -> list[str]:
    """Of a repository's files those to read: the weights, and what describes them.

    Raises:
        UserError: it has no weights, or several files of them, none of which says that it is the model.
    """
    top = [name for name in names if "/" not in name]
    found = [name for name in IN_FOLDERS if name in top] or [name for name in top if name.endswith(WEIGHTS)]
    if not found:
        raise UserError(f"`{repository}` has no weights; it must have one of {quoted(IN_FOLDERS)}.")
    weights = found[:1]
    if weights[0] not in IN_FOLDERS and len(found) > 1:
        raise UserError(f"`{repository}` must have one of {quoted(IN_FOLDERS)}, but has {quoted(found[:3])}.")
    if weights[0].endswith(".index.json"):
        stem, ending = weights[0].removesuffix(".index.json").rsplit(".", 1)
        weights += [name for name in top if name.startswith(f"{stem}-") and name.endswith(f".{ending}")]
    beside = [n for n in top if n.endswith(BESIDE) and not n.endswith(".index.json")]
    beside += [n for n in names if n == CONFIG_FILE or (n.startswith(f"{FILES}/") and n.count("/") == 1)]
    return list(dict.fromkeys([*weights, *beside]))


def _check(path: Path, listed: Any, repository: Repository) -> None:
    """Compares a file with what the Hub lists of it; one that differs is taken out of the cache.

    Raises:
        UserError: it has another size or sum.
    """
    size = path.stat().st_size
    told = None
    if listed.size is not None and size != listed.size:
        told = f"it has {size:,} bytes, and the Hub lists {listed.size:,}"
    elif listed.lfs is not None and _sum(path, "sha256") != listed.lfs.sha256:
        told = "its SHA-256 is not the one that the Hub lists"
    elif listed.lfs is None and listed.blob_id and _sum(path, "sha1", f"blob {size}\0") != listed.blob_id:
        told = "its sum is not the one that the Hub lists"
    if told:
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise UserError(f"`{path.name}` of `{repository}` is damaged: {told}; it was removed from the cache.")


def _sum(path: Path, name: str, before: str = "") -> str:
    digest = hashlib.new(name, before.encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _literally(name: str) -> str:
    """A pattern that this name alone fits."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
