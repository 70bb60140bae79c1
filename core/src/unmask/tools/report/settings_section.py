"""A run's configuration as text; of two runs side by side, with what differs first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from unmask.tools.report.markup import Markup, element, join
from unmask.tools.report.record import Record

LONGEST = 2000
"""Characters of a value, or a thousand times as many of a whole file, that are shown."""
SHOWN = ("model", "data")
"""Entries that are not folded up."""
ABSENT = "—"


def settings(records: Sequence[Record]) -> Markup:
    """The section's content for one run or two."""
    if len(records) == 1:
        return _text(records[0])
    if not all(record.config for record in records):
        return element("div", [element("div", element("h3", r.name), _text(r)) for r in records], class_="columns")
    flat = [dict(flatten(_ordered(record.config))) for record in records]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    rows = [(key, [one.get(key, ABSENT) for one in flat]) for key in keys]
    differing = [(key, values) for key, values in rows if len(set(values)) > 1]
    count = f"{len(differing)} of {len(rows)} settings differ" if differing else "The runs have the same settings"
    return element(
        "div",
        element("p", f"{count}."),
        _table(differing, records, "What differs", "two") if differing else None,
        element("details", element("summary", "All settings"), _table(rows, records, "All settings", "all two")),
    )


def flatten(config: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Settings by the names that the command line gives them, and their values as text.

    Lists of plain values are one setting, other lists one for each number.
    """
    if isinstance(config, Mapping) and config:
        items: list[tuple[str, Any]] = [(f"{prefix}.{key}" if prefix else str(key), v) for key, v in config.items()]
    elif isinstance(config, list) and any(isinstance(value, Mapping | list) for value in config):
        items = [(f"{prefix}[{i}]", value) for i, value in enumerate(config)]
    else:
        name = prefix.replace(".init_args.", ".")  # as it is called on the command line
        return [(name, config if isinstance(config, str) else json.dumps(config, default=str, ensure_ascii=False))]
    return [pair for key, value in items for pair in flatten(value, key)]


def _text(record: Record) -> Markup:
    """The file: what it says of model and data at once, the rest on demand."""
    if not record.config_text:
        return element("p", "No config.yaml: this run was not started by ", element("code", "unmask fit"), ".")
    if not record.config:
        return element("pre", _cut(record.config_text, LONGEST * 1000))
    parts = []
    for key, value in _ordered(record.config).items():
        rows = flatten({key: value})
        table = _table([(name, [text]) for name, text in rows], [record], str(key))
        summary = element("summary", str(key), element("span", f"{len(rows)}", class_="note"))
        parts.append(element("details", summary, table, open=key in SHOWN))
    return element("div", parts)


def _table(rows: Sequence[tuple[str, list[str]]], records: Sequence[Record], caption: str, style: str = "") -> Markup:
    several = len(records) > 1
    heads = [element("th", record.name, scope="col") for record in records] if several else []
    head = element("thead", element("tr", element("th", "setting", scope="col"), heads)) if several else None
    body = []
    for key, values in rows:
        differs = len(set(values)) > 1
        cells = [element("td", element("div", _cut(value, LONGEST), class_="value")) for value in values]
        body.append(
            element("tr", element("th", _breakable(key), scope="row"), cells, class_="differs" if differs else None)
        )
    table = element(
        "table",
        element("caption", caption, class_="hidden"),
        head,
        element("tbody", body),
        class_=f"settings {style}".strip(),
    )
    return element("div", table, class_="scroll")


def _ordered(config: Mapping[str, Any]) -> dict[str, Any]:
    """With `SHOWN` first."""
    return {key: config[key] for key in sorted(config, key=lambda key: key not in SHOWN)}


def _breakable(key: str) -> Markup:
    """A dotted key, which may go on in a new line after each dot."""
    return join([[part, element("wbr")] for part in re.findall(r"[^.]*\.?", key) if part])


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text):,} characters)"
