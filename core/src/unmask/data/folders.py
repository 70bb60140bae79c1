"""How the files of a folder are found, the same in every modality.

- All folders below count. A link to a folder is followed, each folder once: loops end, and no file is read twice.
- Hidden files and folders (``.ipynb_checkpoints``, ``.git``, ``._photo.png``) are left out, as are files with other
  endings, links to files that are found anyway or that lead nowhere, and what is no file (pipes, sockets, devices).
- What is left out is counted and named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from unmask.data.findings import Findings
from unmask.support.nearest import nearest, quoted

HIDDEN = "hidden files and folders are left out"
OTHER = "files with other endings are left out"
AGAIN = "links to files and folders that are found anyway are left out"
NOWHERE = "links that lead nowhere are left out"
NO_FILE = "pipes, sockets and devices are left out"
CLOSED = "folders that may not be read are left out"


def find_files(
    root: Path, endings: Iterable[str], findings: Findings, what: str = "files", option: str = "folder"
) -> list[Path]:
    """Files below ``root`` that end in one of ``endings``, sorted.

    Args:
        root: the folder.
        endings: in lower case, with the dot: ``.png``, ``.csv.gz``.
        findings: is told of what is left out.
        what: the files, in a message: ``images``.
        option: that names the folder, in a message.

    Raises:
        ValueError: no such folder (names the nearest), or no such file in it.
    """
    endings = tuple(sorted({ending.lower() for ending in endings}))
    if not root.is_dir():
        missing = "is no folder" if root.exists() else "does not exist"
        parent = root.absolute().parent
        siblings = [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
        near = nearest(root.name, siblings, 1)
        hint = f" Nearest: {root.parent / near[0]}." if near else ""
        raise ValueError(f"`{option}` must be a folder of {what}, but {root} {missing}.{hint}")
    own = Findings()
    files = [path for path in _below(root, own) if path.name.lower().endswith(endings) or _other(path, root, own)]
    findings.add(own)
    if not files:
        held = ", ".join(f"{count:,} {text.removesuffix(' are left out')}" for text, (count, _) in own.odd.items())
        examples = own.named(OTHER)
        also = f" ({examples})" if examples else ""
        raise ValueError(
            f"`{option}` must hold {what} ({', '.join(endings)}), but {root} holds {held or 'nothing'}{also}."
        )
    return sorted(files)


def no_such(given: str | Path, option: str) -> ValueError:
    """The error for a path that does not exist; names the nearest that do."""
    path = Path(given)
    there = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest(path.name, there)
    hint = f"; nearest: {quoted(str(path.parent / one) for one in near)}" if near else ""
    return ValueError(f"`{option}` must be files or folders, but there is no `{given}`{hint}.")


def is_hidden(path: Path, root: Path) -> bool:
    """Whether a part of the way from ``root`` to ``path`` begins with a dot."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _below(root: Path, findings: Findings) -> list[Path]:
    """Visible files below ``root``. Real folders come before links, so that a file keeps its own path."""
    seen = {_identity(root)}
    files: dict[str, Path] = {}  # by real path
    links: list[Path] = []  # to files
    waiting: list[Path] = [root]
    linked: list[Path] = []
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.pop(0)
        if folder.is_symlink() and folder != root:
            if (identity := _identity(folder)) in seen:
                findings.note(AGAIN, str(folder.relative_to(root)))
                continue
            seen.add(identity)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            findings.note(CLOSED, str(folder.relative_to(root)))
            continue
        for entry in entries:
            path = Path(entry.path)
            name = str(path.relative_to(root))
            if entry.name.startswith("."):
                findings.note(HIDDEN, name)
                continue
            try:
                mode = entry.stat().st_mode  # of what a link leads to
            except OSError:  # nowhere, or to itself
                findings.note(NOWHERE, name)
                continue
            if stat.S_ISDIR(mode):
                if entry.is_symlink():
                    linked.append(path)
                elif (identity := _identity(path)) not in seen:
                    seen.add(identity)
                    waiting.append(path)
            elif not stat.S_ISREG(mode):
                findings.note(NO_FILE, name)
            elif entry.is_symlink():
                links.append(path)
            else:
                files.setdefault(os.path.realpath(path), path)
    for path in sorted(links):
        if files.setdefault(os.path.realpath(path), path) != path:
            findings.note(AGAIN, str(path.relative_to(root)))
    return list(files.values())


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _other(path: Path, root: Path, findings: Findings) -> bool:
    findings.note(OTHER, str(path.relative_to(root)))
    return False
