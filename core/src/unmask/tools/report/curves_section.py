"""All curves of one run or two: a chart for each column of ``metrics.csv``, in groups by their prefix."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from unmask.tools.report.chart import Line, chart
from unmask.tools.report.markup import Markup, element
from unmask.tools.report.record import Record

LOSS = "loss"
MAIN = ""
"""The group of training and validation, which needs no heading."""
SCHEDULES = ("lr", "momentum", "ratio", "weight_decay")
"""Last words of columns that follow a schedule: never on a logarithmic axis, which would bend it."""
DASHES = ("", " dashed")
SAME_SCALE = {
    "method": ("model", "class_path"),
    "mask": ("model", "init_args", "mask"),
    "target": ("model", "init_args", "target"),
    "loss": ("model", "init_args", "loss"),
    "data": ("data",),
}
"""What must be alike in two runs for their losses to compare."""
LOADING = {"batch_size": None, "val_batch_size": None, "num_workers": None, "drop_last": None}
"""Arguments of data that say nothing about what is measured."""


def panels(records: Sequence[Record]) -> Markup:
    """The charts, or a sentence on why there is none."""
    columns = list(dict.fromkeys(column for record in records for column in record.curves))
    if not columns:
        return element("p", "No curves yet: nothing was logged to metrics.csv.", class_="missing")
    last = max(record.last_step for record in records)
    groups: dict[str, list[Markup]] = {MAIN: []}
    if len(records) == 1:  # of a single run, training and validation are what to compare
        losses = [column for column in columns if column.partition("/")[2] == LOSS]
        if len(losses) > 1:
            columns = [column for column in columns if column not in losses]
            groups[MAIN].append(_losses(records[0], losses, last))
    for column in sorted(columns, key=lambda column: not column.endswith(LOSS)):  # those first
        lines = _lines(records, column)
        prefix = column.partition("/")[0]
        group = MAIN if prefix in ("train", "val") or prefix == column else prefix
        groups.setdefault(group, []).append(
            chart(
                column,
                lines,
                last,
                wide=group == MAIN and column.endswith(LOSS),
                linear=column.rpartition("/")[2] in SCHEDULES,
            )
            if lines
            else element("p", f"{column}: none of its values is finite.", class_="warning")
        )
    blank = [record.name for record in records if not record.curves]
    return element(
        "div",
        element("p", f"Nothing was logged by {', '.join(blank)} yet.", class_="missing") if blank else None,
        _caution(records),
        [_group(name, charts) for name, charts in groups.items() if charts],
    )


def _losses(record: Record, columns: Sequence[str], last: int) -> Markup:
    """Losses on training and validation data in one chart."""
    lines = [
        Line(column.partition("/")[0], record.curves[column], f"run-{i % 2}", smooth=column.startswith("train/"))
        for i, column in enumerate(columns)
        if record.curves[column].finite
    ]
    if not lines:
        return element("p", "None of the losses is finite.", class_="warning")
    return chart("loss", lines, last, wide=True)


def _lines(records: Sequence[Record], column: str) -> list[Line]:
    smooth = column.startswith("train/") and column.endswith(LOSS)
    return [
        Line(record.name, record.curves[column], f"run-{i}", smooth)
        for i, record in enumerate(records)
        if column in record.curves and record.curves[column].finite
    ]


def _group(name: str, charts: Sequence[Markup]) -> Markup:
    heading = element("h3", name) if name != MAIN else None
    return element("div", heading, element("div", list(charts), class_="charts"))


def _caution(records: Sequence[Record]) -> Markup | None:
    """Where two losses must not be compared."""
    if len(records) < 2 or not all(record.config for record in records):
        return None
    differing = [name for name, path in SAME_SCALE.items() if len({_text(r.setting(*path)) for r in records}) > 1]
    if not differing:
        return None
    return element(
        "p",
        f"The runs differ in their {_listed(differing)}, so their losses do not compare: "
        "a lower curve is not a better model.",
        class_="missing",
    )


def _text(setting: Any) -> str:
    """As text, to be compared, without `LOADING`."""
    if isinstance(setting, Mapping) and isinstance(arguments := setting.get("init_args"), Mapping):
        setting = {**setting, "init_args": {**arguments, **LOADING}}
    return json.dumps(setting, sort_keys=True, default=str)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
