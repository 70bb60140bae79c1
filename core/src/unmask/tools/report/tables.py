"""Results of commands as tables: those with rows of means by column, and any other JSON as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from unmask.tools.report.axis import number
from unmask.tools.report.markup import Markup, element
from unmask.tools.report.settings_section import flatten
from unmask.tools.results import MISSING, Cell, Measure, Results, Row

LONGEST = 500
"""Characters of a value that are shown."""


def result(content: Any) -> Markup:
    """What a command wrote: a table where it has rows of means, else key by key."""
    found = Results.from_json(content)
    about = element("div", [element("p", line) for line in found.caption], class_="about") if found.caption else None
    if not found.rows:
        return element("div", _listed(content), about)
    heads = [element("th", column, scope="col") for column in found.columns]
    return element("div", _table(heads, [_row(found, row) for row in found.rows]), about)


def comparison(contents: Sequence[Any], names: Sequence[str]) -> Markup | None:
    """The last columns, which are those of the pretrained encoders, of two runs beside each other.

    None where they have no row in common, or where they are scores of other data or tokens.
    """
    runs = [Results.from_json(content) for content in contents]
    if len({str(run.details.get("fingerprint")) for run in runs}) > 1:
        return None
    found = [{row.label(): row for row in run.rows if run.columns[-1] in row.cells} for run in runs]
    rows = []
    for label in (label for label in found[0] if label in found[1]):
        both = [by_label[label] for by_label in found]
        measure = replace(both[0].measure, percent=all(row.measure.percent for row in both))
        cells = [Cell(row.cells[run.columns[-1]].mean) for row, run in zip(both, runs, strict=True)]
        rows.append(replace(both[0], measure=measure, cells=dict(zip(names, cells, strict=True))))
    if not rows:
        return None
    keys = [element("i", class_=f"key run-{i}") for i in range(len(names))]
    heads = [element("th", key, name, scope="col") for key, name in zip(keys, names, strict=True)]
    body = []
    for row in rows:
        first, second = (row.cells[name].mean for name in names)
        difference = element("td", _text(row.measure, second - first, sign=True))
        body.append(_row(Results("", list(names), [row]), row, difference))
    return _table([*heads, element("th", "difference", scope="col")], body)


def headline(content: Any) -> tuple[str, str, str] | None:
    """The first row's value in the last column, its label, and the columns before it; None without."""
    found = Results.from_json(content)
    if not found.rows or found.columns[-1] not in found.rows[0].cells:
        return None
    row = found.rows[0]
    told = {column: _text(row.measure, row.cells[column].mean) for column in found.columns if column in row.cells}
    value = told.pop(found.columns[-1]) + (" %" if row.measure.percent else "")
    return value, row.label(), ", ".join(f"{column} {text}" for column, text in told.items())


def _row(found: Results, row: Row, *more: Markup) -> Markup:
    unit = element("span", " %", class_="note") if row.measure.percent else None
    cells = [_cell(found, row, column) for column in found.columns]
    return element("tr", element("th", row.label(), unit, scope="row"), cells, *more)


def _cell(found: Results, row: Row, column: str) -> Markup:
    if column not in row.cells:
        return element("td", MISSING)
    cell, measure = row.cells[column], row.measure
    text = _text(measure, cell.mean)
    spread = element("span", f" ± {_text(measure, cell.error)}", class_="note") if cell.error is not None else None
    shown = element("b", text) if found.is_best(row, column) else text
    if not measure.percent:
        return element("td", shown, spread)
    return element("td", shown, spread, style=f"--share:{100 * max(cell.mean, 0):.1f}%", class_="bar")


def _text(measure: Measure, value: float, sign: bool = False) -> str:
    """``value`` in its unit, as people write it."""
    plus = "+" if sign and value > 0 else ""
    text = plus + (measure.text(value) if measure.percent else number(value, 4))
    return text.replace("-", "\N{MINUS SIGN}")


def _table(heads: Sequence[Markup], body: Sequence[Markup]) -> Markup:
    head = element("thead", element("tr", element("td"), list(heads))) if heads else None
    return element("div", element("table", head, element("tbody", list(body)), class_="results"), class_="scroll")


def _listed(content: Any) -> Markup:
    rows = []
    for key, value in flatten(content):
        if key not in ("caption", "about"):
            shown = value if len(value) <= LONGEST else f"{value[:LONGEST]} …"
            rows.append(element("tr", element("th", key, scope="row"), element("td", shown)))
    return element("div", element("table", element("tbody", rows), class_="results free"), class_="scroll")
