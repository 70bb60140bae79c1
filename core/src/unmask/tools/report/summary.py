"""The head of the page: what was trained on what, and the few numbers that everybody asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from unmask.tools.report.axis import count, number
from unmask.tools.report.environment_section import wall_time
from unmask.tools.report.markup import Markup, element
from unmask.tools.report.record import Record
from unmask.tools.report.tables import headline

NUM_LAST = 10
"""Logged values that the training loss of a tile is the mean of."""

Tile = tuple[str, str]
"""A number, and a remark on it."""


def head(records: Sequence[Record]) -> Markup:
    """Titles and tiles of one run or two."""
    return element("div", _titles(records), _tiles(records))


def subtitle(record: Record) -> str:
    """The method and the data, by their class names."""
    method, data = (_class_name(record.setting(part, "class_path")) for part in ("model", "data"))
    return f"{method} on {data}" if method and data else method or data


def _titles(records: Sequence[Record]) -> Markup:
    if len(records) == 1:
        about = subtitle(records[0])
        return element("div", element("h1", records[0].name), element("p", about, class_="subtitle") if about else None)
    lines = []
    for i, record in enumerate(records):
        about = subtitle(record)
        key = element("i", class_=f"key run-{i}")
        lines.append(element("p", key, f"{record.name}: {about}" if about else record.name, class_="subtitle"))
    return element("div", element("h1", " and ".join(record.name for record in records)), lines)


def tiles_of(record: Record) -> dict[str, Tile | None]:
    """The numbers of a run, each with a remark, by what they are; None: its files do not tell."""
    kinds: dict[str, Callable[[Record], Tile | None]] = {
        "steps": _steps,
        "training loss": _training_loss,
        "validation loss": _validation_loss,
        "probe": _probe,
        "trainable parameters": _parameters,
        "wall time": _time,
    }
    return {label: kind(record) for label, kind in kinds.items()}


def _tiles(records: Sequence[Record]) -> Markup:
    each = [tiles_of(record) for record in records]
    made = []
    for label in each[0]:
        tiles = [one[label] for one in each]
        if any(tiles):
            made.append(element("div", element("dt", label), [_tile(t, i, len(tiles)) for i, t in enumerate(tiles)]))
    return element("dl", made, class_="tiles")


def _tile(tile: Tile | None, index: int, num_records: int) -> Markup:
    value, remark = tile or ("—", "")
    key = element("i", class_=f"key run-{index}") if num_records > 1 else None
    note = element("span", remark, class_="note") if remark else None
    return element("dd", element("b", key, value), note, class_="two" if num_records > 1 else None)


def _steps(record: Record) -> Tile | None:
    if (done := record.steps_done) is None:
        return None
    steps, epochs = record.setting("trainer", "max_steps"), record.setting("trainer", "max_epochs")
    planned = f"of {steps:,}" if isinstance(steps, int) and steps > 0 else ""
    if not planned and isinstance(epochs, int) and epochs > 0:
        planned = f"planned: {epochs:,} epochs"
    return f"{done:,}", planned


def _training_loss(record: Record) -> Tile | None:
    curve = record.curves.get("train/loss")
    points = curve.finite if curve else []
    if not points:
        return None
    last = [value for _, value in points[-NUM_LAST:]]
    return number(fmean(last), 4), f"mean of the last {len(last)} logged, from {number(points[0][1], 4)}"


def _validation_loss(record: Record) -> Tile | None:
    curve = record.curves.get("val/loss")
    points = curve.finite if curve else []
    if not points:
        return None
    step, least = min(points, key=lambda point: point[1])
    remark = "its least" if step == points[-1][0] else f"least {number(least, 4)} at step {step:,}"
    return number(points[-1][1], 4), remark


def _probe(record: Record) -> Tile | None:
    found = headline(record.results.get("probe"))
    return (found[0], f"{found[1]}; {found[2]}" if found[2] else found[1]) if found else None


def _parameters(record: Record) -> Tile | None:
    number_of = record.sessions[-1].get("trainable_parameters") if record.sessions else None
    return (count(number_of), f"{number_of:,}") if isinstance(number_of, int) else None


def _time(record: Record) -> Tile | None:
    seconds = [s["seconds"] for s in record.sessions if isinstance(s.get("seconds"), int | float)]
    if not seconds:
        return None
    device = str(record.sessions[-1].get("device", ""))
    return wall_time(sum(seconds)), f"on {device}" if device else ""


def _class_name(path: object) -> str:
    return path.rpartition(".")[2] if isinstance(path, str) else ""
