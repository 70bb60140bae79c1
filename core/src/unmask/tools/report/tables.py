"""Results of commands as tables: those with rows of means by column, and any other JSON as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from unmask.tools.report.axis import number
from unmask.tools.report.markup import Markup, element
from unmask.tools.report.settings_section import flatten

LONGEST = 500
"""Characters of a value that are shown."""


class Row(NamedTuple):
    """One score of several encoders.

    Args:
        label: what was measured, on how many labels.
        means: by column, finite ones only.
        errors: their standard errors, where there are any.
        percent: whether it is a share, and shown in per cent.
        least: whether less is better.
    """

    label: str
    means: dict[str, float]
    errors: dict[str, float]
    percent: bool
    least: bool

    @property
    def best(self) -> float | None:
        """The best mean."""
        return (min if self.least else max)(self.means.values(), default=None)

    def text(self, value: float, sign: bool = False) -> str:
        """``value`` in this row's unit."""
        plus = "+" if sign and value > 0 else ""
        text = plus + (f"{100 * value:.1f}" if self.percent else number(value, 4))
        return text.replace("-", "\N{MINUS SIGN}")


def result(content: Any) -> Markup:
    """What a command wrote: a table where it has rows of means, else key by key."""
    columns, rows = means(content)
    if not rows:
        return _plain(content)
    body = [_row(row, [_cell(row, row.means.get(c), row.errors.get(c)) for c in columns]) for row in rows]
    heads = [element("th", column, scope="col") for column in columns]
    return element("div", _table(heads, body), _caption(content))


def comparison(contents: Sequence[Any], names: Sequence[str]) -> Markup | None:
    """The last columns, which are those of the pretrained encoders, of two runs beside each other.

    None where they have no row in common.
    """
    found = []
    for content in contents:
        columns, rows = means(content)
        found.append({row.label: (row, row.means[columns[-1]]) for row in rows if columns[-1] in row.means})
    body = []
    for label in (label for label in found[0] if label in found[1]):
        (row, first), (other, second) = (rows[label] for rows in found)
        row = row._replace(means={"first": first, "second": second}, percent=row.percent and other.percent)
        cells = [_cell(row, value, None) for value in (first, second)]
        body.append(_row(row, [*cells, element("td", row.text(second - first, sign=True))]))
    if not body:
        return None
    keys = [element("i", class_=f"key run-{i}") for i in range(len(names))]
    heads = [element("th", key, name, scope="col") for key, name in zip(keys, names, strict=True)]
    return _table([*heads, element("th", "difference", scope="col")], body)


def headline(content: Any) -> tuple[str, str, str] | None:
    """The first row's value in the last column, its label, and the columns before it; None without."""
    columns, rows = means(content)
    if not rows or columns[-1] not in rows[0].means:
        return None
    row = rows[0]
    others = [f"{column} {row.text(row.means[column])}" for column in columns[:-1] if column in row.means]
    unit = " %" if row.percent else ""
    return row.text(row.means[columns[-1]]) + unit, row.label, ", ".join(others)


def means(content: Any) -> tuple[list[str], list[Row]]:
    """Columns and rows of what ``unmask probe`` and its like write; no rows where it is something else."""
    rows = content.get("rows") if isinstance(content, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        return [], []
    found = [_read(row) for row in rows]
    found = [row for row in found if row.means]
    columns = next((content[key] for key in ("columns", "encoders") if isinstance(content.get(key), list)), None)
    columns = columns or list(dict.fromkeys(column for row in found for column in row.means))
    return [str(column) for column in columns], found


def _read(row: Mapping[str, Any]) -> Row:
    label = str(row.get("name", ""))
    if "labels_per_class" in row:
        count = row["labels_per_class"]
        label += ", all labels" if count is None else f", {count} per class"
    values, least = _numbers(row, "mean"), row.get("higher_is_better") is False
    share = row.get("percent", not least and all(abs(value) <= 1 for value in values.values())) is True
    return Row(label, values, _numbers(row, "standard_error"), share, least)


def _numbers(row: Mapping[str, Any], key: str) -> dict[str, float]:
    entries = row.get(key)
    if not isinstance(entries, Mapping):
        return {}
    return {
        str(column): float(value)
        for column, value in entries.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _row(row: Row, cells: Sequence[Markup]) -> Markup:
    unit = element("span", " %", class_="note") if row.percent else None
    return element("tr", element("th", row.label, unit, scope="row"), list(cells))


def _cell(row: Row, mean: float | None, error: float | None) -> Markup:
    if mean is None:
        return element("td", "—")
    text = element("b", row.text(mean)) if mean == row.best else row.text(mean)
    spread = element("span", f" ± {row.text(error)}", class_="note") if error is not None else None
    if not row.percent:
        return element("td", text, spread)
    return element("td", text, spread, style=f"--share:{100 * max(mean, 0):.1f}%", class_="bar")


def _table(heads: Sequence[Markup], body: Sequence[Markup]) -> Markup:
    head = element("thead", element("tr", element("td"), list(heads))) if heads else None
    return element("div", element("table", head, element("tbody", list(body)), class_="results"), class_="scroll")


def _plain(content: Any) -> Markup:
    rows = []
    for key, value in flatten(content):
        if key not in ("caption", "about"):
            shown = value if len(value) <= LONGEST else f"{value[:LONGEST]} …"
            rows.append(element("tr", element("th", key, scope="row"), element("td", shown)))
    table = element("table", element("tbody", rows), class_="results free")
    return element("div", element("div", table, class_="scroll"), _caption(content))


def _caption(content: Any) -> Markup | None:
    if not isinstance(content, Mapping):
        return None
    caption = next((content[key] for key in ("caption", "about") if isinstance(content.get(key), str)), "")
    return element("div", [element("p", line) for line in caption.splitlines()], class_="about") if caption else None
