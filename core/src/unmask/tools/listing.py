"""Runs below a folder, each in a line: method, data, steps, how it stands, figures. Read from small files alone."""

from __future__ import annotations

import csv
import fnmatch
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unmask.runs.folders import checkpoints, is_in_use, read_environment
from unmask.support.errors import UserError
from unmask.support.nearest import nearest, quoted
from unmask.support.yaml_files import parse_yaml
from unmask.tools.results import MISSING, Results

FACTS = ("run", "method", "data", "steps", "of", "state", "started", "minutes", "seed")
"""Columns of every table; figures follow."""
LOSSES = ("train/loss", "val/loss")
"""Columns of ``metrics.csv`` whose last values are figures."""
RESULTS = ("probe", "finetune", "score")
"""Commands that leave ``NAME.json``; the last column of each row is a figure."""
TAIL = 65_536
"""Bytes at the end of ``metrics.csv`` that are read."""
PASSED = ("checkpoints", "pictures", "tensorboard", "export")
"""Folders of a run in which no other run lies."""


@dataclass(frozen=True)
class Listed:
    """One run.

    Args:
        folder: with its ``config.yaml``.
        facts: by the names of `FACTS`; None where its files do not tell.
        figures: by name, such as ``val/loss`` or ``probe linear, all labels``.
        less_is_better: names of those figures that are errors.
    """

    folder: Path
    facts: dict[str, Any]
    figures: dict[str, float] = field(default_factory=dict)
    less_is_better: set[str] = field(default_factory=set)

    def value(self, name: str) -> Any:
        """A fact or a figure; None where it has none."""
        return self.facts.get(name, self.figures.get(name))


def find(folder: Path) -> list[Path]:
    """All run folders below ``folder``, itself too: those with a ``config.yaml`` beside what a run writes."""
    found = []
    for place, folders, files in os.walk(folder):
        told = "metrics.csv" in files or "environment.json" in files or "checkpoints" in folders
        if "config.yaml" in files and told:
            found.append(Path(place))
            folders[:] = [one for one in folders if one not in PASSED]
        folders[:] = sorted(one for one in folders if not one.startswith("."))
    return found


def read(folder: Path, name: str) -> Listed:
    """What the files of a run tell; a missing or damaged one tells nothing."""
    config = _config(folder / "config.yaml")
    sessions = read_environment(folder / "environment.json")
    last, first = (sessions[-1], sessions[0]) if sessions else ({}, {})
    seconds = [one["seconds"] for one in sessions if isinstance(one.get("seconds"), int | float)]
    steps = last.get("last_step")
    facts = {
        "run": name,
        "method": _class(config, "model"),
        "data": _class(config, "data"),
        "steps": steps if isinstance(steps, int) else None,
        "of": _setting(config, "trainer", "max_steps"),
        "state": _state(folder, last),
        "started": first.get("started"),
        "minutes": round(sum(seconds) / 60, 1) if seconds else None,
        "seed": last.get("seed", _setting(config, "seed_everything")),
    }
    results = _results(folder)
    figures = _losses(folder / "metrics.csv") | {name: value for name, (value, _) in results.items()}
    return Listed(folder, facts, figures, {*LOSSES} | {name for name, (_, less) in results.items() if less})


def listed(folder: Path) -> list[Listed]:
    """All runs below ``folder``.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        parent = folder.parent
        near = nearest(str(folder), [str(one) for one in parent.iterdir()] if parent.is_dir() else [])
        raise UserError(f"There is no folder `{folder}`" + (f"; nearest: {quoted(near)}." if near else "."))
    found = [read(one, str(one.relative_to(folder)) if one != folder else one.name) for one in find(folder)]
    if not found:
        raise UserError(f"`{folder}` must hold run folders, with `config.yaml`, but holds none.")
    return found


def columns(runs: Sequence[Listed]) -> list[str]:
    """Facts, then every figure that a run has."""
    return [*FACTS, *dict.fromkeys(name for run in runs for name in run.figures)]


def chosen(runs: Sequence[Listed], conditions: Sequence[str]) -> list[Listed]:
    """Those that meet all conditions: ``state=finished``, ``method=vision.*``, ``val/loss<0.5``, ``steps>=1000``.

    Raises:
        UserError: no such column, or a condition that is none.
    """
    for condition in conditions:
        sign = next((one for one in ("<=", ">=", "!=", "=", "<", ">") if one in condition), None)
        if sign is None:
            raise UserError(f"`--where` must be such as `state=finished` or `val/loss<0.5`, but is `{condition}`.")
        name, _, wanted = condition.partition(sign)
        name, wanted = known(name.strip(), columns(runs)), wanted.strip()
        runs = [run for run in runs if _meets(run.value(name), sign, wanted, condition)]
    return list(runs)


def known(name: str, names: Sequence[str]) -> str:
    """The column that is meant: its name, or the only one that contains it.

    Raises:
        UserError: none or several.
    """
    found = [one for one in names if name == one] or [one for one in names if name in one]
    if len(found) != 1:
        near = found or nearest(name, list(names)) or list(names)
        raise UserError(f"There is no column `{name}`; nearest: {quoted(near)}.")
    return found[0]


def ordered(runs: Sequence[Listed], by: str, downwards: bool) -> list[Listed]:
    """By a column, smallest first or last; runs without it come last."""
    by = known(by, columns(runs))
    there = [run for run in runs if run.value(by) is not None]
    words = any(isinstance(run.value(by), str) for run in there)
    there.sort(key=lambda run: str(run.value(by)) if words else run.value(by), reverse=downwards)
    return there + [run for run in runs if run.value(by) is None]


def as_csv(runs: Sequence[Listed]) -> str:
    """A table with every column, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = columns(runs)
    writer.writerow(names)
    writer.writerows([["" if run.value(name) is None else run.value(name) for name in names] for run in runs])
    return text.getvalue()


def table(runs: Sequence[Listed], figures: Sequence[str] | None = None, width: int | None = None) -> str:
    """A table for a terminal; ``figures`` are those shown, None: losses, and the first of each command."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD)
    shown = _first(runs) if figures is None else [known(name, columns(runs)) for name in figures]
    facts = [name for name in FACTS if name not in ("of", "seed") and any(run.facts[name] is not None for run in runs)]
    for name in [*facts, *shown]:
        words = name in ("run", "method", "data", "state", "started")
        drawn.add_column(name, overflow="fold", justify="left" if words else "right")
    for run in runs:
        drawn.add_row(*[_fact(run, name) for name in facts], *[_figure(run.figures.get(name)) for name in shown])
    console = Console(file=io.StringIO(), width=width or 200, color_system=None)
    console.print(drawn)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    return "\n".join(lines).strip("\n")


def _first(runs: Sequence[Listed]) -> list[str]:
    shown: list[str] = []
    for name in columns(runs)[len(FACTS) :]:
        kind = name.partition(" ")[0]
        if name in LOSSES or not any(one.partition(" ")[0] == kind for one in shown):
            shown.append(name)
    return shown


def _fact(run: Listed, name: str) -> str:
    value = run.facts[name]
    if value is None:
        return MISSING
    if name == "steps":
        whole = run.facts["of"]
        return f"{value:,}" + (f" of {whole:,}" if isinstance(whole, int) and whole > value else "")
    if name == "started":
        return str(value)[:16].replace("T", " ")
    return str(value)


def _figure(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"


def _config(path: Path) -> dict[str, Any]:
    try:
        parsed = parse_yaml(path.read_bytes().decode("utf-8", errors="replace"), "config.yaml")
    except (OSError, UserError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _setting(config: Any, *path: str) -> Any:
    for key in path:
        config = config.get(key) if isinstance(config, dict) else None
    return config


def _class(config: dict[str, Any], part: str) -> str | None:
    """The registered name of a class, or its own."""
    from unmask.plugins.registry import components

    path = _setting(config, part, "class_path")
    if not isinstance(path, str):
        return None
    module, _, name = path.rpartition(".")
    same = [one.name for one in components() if one.value.endswith(f":{name}") and one.value.startswith(module)]
    own = [one for one in same if "." in one] or same
    return own[0] if own else name


def _state(folder: Path, session: dict[str, Any]) -> str:
    """``running``, ``finished``, how it ended otherwise, or ``killed``: nothing was noted at its end."""
    if is_in_use(folder):
        return "running"
    ended = session.get("ended")
    if isinstance(ended, str):
        return "no checkpoint" if ended == "finished" and not checkpoints(folder) else ended
    return "killed" if session else "unknown"


def _losses(path: Path) -> dict[str, float]:
    """The last value of each loss, from the end of ``metrics.csv``."""
    try:
        with path.open("rb") as file:
            head = file.readline().decode("utf-8", errors="replace")
            file.seek(max(file.tell(), path.stat().st_size - TAIL))
            rows = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    names = next(csv.reader([head]), [])
    found: dict[str, str] = {}
    for row in csv.reader(rows):
        if len(row) == len(names):  # the first may be cut
            found |= {name: value for name, value in zip(names, row, strict=True) if name in LOSSES and value}
    return {name: number for name in LOSSES if (number := _number(found.get(name))) is not None}


def _results(folder: Path) -> dict[str, tuple[float, bool]]:
    """The last column of each row that a command has found, and whether it is an error, by command and row."""
    figures = {}
    for command in RESULTS:
        try:
            content = json.loads((folder / f"{command}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        found = Results.from_json(content)
        for row in found.rows:
            if (cell := row.cells.get(found.columns[-1])) is not None:
                figures[f"{command} {row.label()}"] = cell.mean, row.measure.less_is_better
    return figures


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _meets(value: Any, sign: str, wanted: str, condition: str) -> bool:
    if sign in ("=", "!="):
        same = fnmatch.fnmatchcase("" if value is None else str(value), wanted)
        if not same and isinstance(value, int | float) and (number := _number(wanted)) is not None:
            same = value == number
        return same == (sign == "=")
    if value is None:
        return False
    limit: Any = _number(wanted)
    if limit is None or isinstance(value, str):
        if not isinstance(value, str):
            raise UserError(f"`--where {condition}` must compare with a number.")
        limit = wanted
    return bool({"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit}[sign])
