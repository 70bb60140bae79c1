"""What runs were trained with: versions, machine, command line, time; one column per start or resume."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from unmask.tools.report.markup import Markup, element
from unmask.tools.report.record import Record

LONGEST = 1e10
"""Seconds that are shown; a longer time is damage."""


def environment(records: Sequence[Record]) -> Markup:
    """A table of all sessions of all runs."""
    columns = [(record, i, session) for record in records for i, session in enumerate(record.sessions)]
    without = [record.name for record in records if not record.sessions]
    note = None
    if without:
        note = element(
            "p",
            f"Nothing was noted for {', '.join(without)}: no environment.json, which ",
            element("code", "unmask fit"),
            " writes when training starts.",
            class_="missing",
        )
    if not columns:
        return element("div", note)
    shown = [_shown(session) for _, _, session in columns]
    keys = list(dict.fromkeys(key for one in shown for key in one))
    heads = [element("th", _head(record, i, len(records)), scope="col") for record, i, _ in columns]
    body = []
    for key in keys:
        values = [one.get(key, "—") for one in shown]
        cells = [element("td", element("code", value) if key == "command" else value) for value in values]
        body.append(element("tr", element("th", key, scope="row"), cells))
    head = element("thead", element("tr", element("td"), heads)) if len(columns) > 1 else None
    table = element("table", head, element("tbody", body), class_="results free")
    return element("div", note, element("div", table, class_="scroll"))


def wall_time(seconds: float) -> str:
    """Hours, minutes, seconds, such as ``1:02:03``."""
    return str(timedelta(seconds=round(seconds)))


def _head(record: Record, index: int, num_records: int) -> str:
    words = [record.name] if num_records > 1 else []
    if len(record.sessions) > 1:
        words.append("first start" if index == 0 else f"resume {index}")
    return ", ".join(words)


def _shown(session: Mapping[str, Any]) -> dict[str, str]:
    """An entry as people read it; keys that are not known here stay as they are."""
    rest = dict(session)
    shown: dict[str, str] = {}
    if started := rest.pop("started", None):
        shown["started"] = str(started).replace("T", " ").replace("+00:00", " UTC")
    first, last = rest.pop("first_step", None), rest.pop("last_step", None)
    if last is not None:
        shown["steps"] = f"{first} to {last}"
    if isinstance(seconds := rest.pop("seconds", None), int | float) and 0 <= seconds < LONGEST:
        shown["wall time"] = wall_time(seconds)
    ended = rest.pop("ended", None)
    shown["ended"] = str(ended) if ended else "not noted: it is running, or was killed"
    command = rest.pop("command", None)
    if isinstance(command, list):
        shown["command"] = shlex.join(str(word) for word in command)
    versions = rest.pop("versions", None)
    for key, value in rest.items():
        shown[key.replace("_", " ")] = f"{value:,}" if isinstance(value, int) else str(value)
    if isinstance(versions, Mapping):
        shown |= {str(package): str(version) for package, version in versions.items()}
    return shown
