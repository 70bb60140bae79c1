"""What a run folder holds, read however far the run came: nothing that is missing or damaged stops it."""

from __future__ import annotations

import csv
import filecmp
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted
from unmask.support.yaml_files import parse_yaml
from unmask.tools.report.curves import Curve, read_curves

RESULTS = {
    "probe": "what simple classifiers find in its codes",
    "finetune": "how well it learns from labels",
    "score": "its held-out loss under fixed masks",
}
"""Commands that leave ``NAME.json``, and what it says."""
COMMANDS = ("preview", "reconstruct")
"""Commands that leave ``NAME.png``."""
NUM_EPOCHS = 3
"""Whose pictures are shown: first, middle, last."""


@dataclass(frozen=True)
class Record:
    """One run.

    Args:
        folder: as the user gave it.
        name: short, and another for each run of a page.
        config: the parsed ``config.yaml``; empty where there is none.
        config_text: the file itself.
        curves: by column of ``metrics.csv``.
        pictures: caption and file.
        results: the content of ``probe.json`` and its like, by name.
        sessions: the entries of ``environment.json``.
        health: what the monitors of the run complained about, in words.
        problems: files that could not be read, and why.
    """

    folder: Path
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    config_text: str = ""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    pictures: list[tuple[str, Path]] = field(default_factory=list)
    results: Mapping[str, Any] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    health: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        """The greatest step that was logged; 0 where none was."""
        return max((curve.steps[-1] for curve in self.curves.values()), default=0)

    @property
    def steps_done(self) -> int | None:
        """Optimiser steps, as far as its files tell."""
        told = [s["last_step"] for s in self.sessions if isinstance(s.get("last_step"), int)]
        logged = [self.last_step + 1] if self.curves else []
        return max(logged + told[-1:], default=None)

    def setting(self, *path: str) -> Any:
        """An entry of the config, such as ``setting("trainer", "max_steps")``; None where there is none."""
        value: Any = self.config
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


def read_records(folders: Sequence[Path]) -> list[Record]:
    """The runs, each under a name of its own.

    Raises:
        UserError: no run or more than two, the same run twice, or no run folder.
    """
    if not 1 <= len(folders) <= 2:
        raise UserError(f"A report is about one run or two, but {len(folders)} were given.")
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise UserError(f"A report compares two different runs, but `{folders[0]}` was given twice.")
    count = next(
        n
        for n in range(1, max(len(path.parts) for path in paths) + 1)
        if len({path.parts[-n:] for path in paths}) == len(paths)
    )
    return [read_record(folder, "/".join(path.parts[-count:])) for folder, path in zip(folders, paths, strict=True)]


def read_record(folder: Path, name: str | None = None) -> Record:
    """Read a run folder.

    Raises:
        UserError: it is no run folder; names the nearest.
    """
    check(folder)
    problems: list[str] = []
    text = _text(folder / "config.yaml", problems)
    sessions = _json(folder / "environment.json", problems)
    results = {name: _json(folder / f"{name}.json", problems) for name in RESULTS}
    return Record(
        folder,
        name or folder.resolve().name,
        _config(text, problems),
        text,
        _curves(folder / "metrics.csv", problems),
        _pictures(folder),
        {name: content for name, content in results.items() if content},
        [one for one in sessions if isinstance(one, dict)] if isinstance(sessions, list) else [],
        _text(folder / "health.txt", problems).strip(),
        problems,
    )


def check(folder: Path) -> None:
    """Refuse what is no run folder.

    Raises:
        UserError: see `read_record`.
    """
    if not folder.exists():
        siblings = [str(one) for one in folder.parent.iterdir() if one.is_dir()] if folder.parent.is_dir() else []
        near = nearest(str(folder), siblings)
        raise UserError(f"There is no run `{folder}`" + (f"; nearest: {quoted(near)}." if near else "."))
    if not folder.is_dir():
        raise UserError(f"`{folder}` must be a run folder, but is a file.")
    if not any((folder / file).is_file() for file in ("config.yaml", "metrics.csv")):
        runs = sorted({str(found.parent) for found in folder.rglob("config.yaml")})[:3]
        hint = f"; runs below it: {quoted(runs)}" if runs else ""
        raise UserError(f"`{folder}` must be a run folder, but has neither `config.yaml` nor `metrics.csv`{hint}.")


def _text(path: Path, problems: list[str]) -> str:
    try:
        return path.read_bytes().decode("utf-8", errors="replace") if path.exists() else ""
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror}.")
        return ""


def _json(path: Path, problems: list[str]) -> Any:
    text = _text(path, problems)
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        problems.append(f"{path.name} is not JSON, or only a part of it.")
        return None


def _config(text: str, problems: list[str]) -> Mapping[str, Any]:
    try:
        parsed = parse_yaml(text, "config.yaml")
    except UserError:
        problems.append("config.yaml is not YAML, or only a part of it: its text is shown as it is.")
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _curves(path: Path, problems: list[str]) -> dict[str, Curve]:
    try:
        return read_curves(path) if path.exists() else {}
    except (OSError, csv.Error) as error:
        problems.append(f"metrics.csv cannot be read: {error}.")
        return {}


def _pictures(folder: Path) -> list[tuple[str, Path]]:
    """The first, a middle and the last epoch; and the latest, where it is another."""
    epochs = {
        int(path.stem[6:]): path for path in (folder / "pictures").glob("epoch-*.png") if path.stem[6:].isdecimal()
    }
    numbers = sorted(epochs)
    chosen = sorted({round(i * (len(numbers) - 1) / (NUM_EPOCHS - 1)) for i in range(NUM_EPOCHS)}) if numbers else []
    shown = [(f"epoch {numbers[i]}", epochs[numbers[i]]) for i in chosen]
    latest = folder / "pictures" / "latest.png"
    if latest.is_file() and not (shown and filecmp.cmp(latest, shown[-1][1], shallow=False)):
        shown.append(("latest", latest))
    made = [(name, folder / f"{name}.png") for name in COMMANDS]
    return shown + [(f"unmask {name}", path) for name, path in made if path.is_file()]
