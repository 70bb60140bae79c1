"""The one table of results: scores by row and column, with means, standard errors and paired gains.

Probes, scores, fine-tuning and the protocols of plugins make `Results`. The terminal, the JSON files and
``unmask report`` read them.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "—"
"""What stands where a row has no number in a column."""


@dataclass(frozen=True)
class Measure:
    """What the numbers of a row are.

    Args:
        name: such as ``accuracy``.
        percent: numbers are in [0, 1] and shown in percent.
        less_is_better: it is an error.
        form: how a number is written, as of `format`; one in percent always has one decimal.
        error_form: how its standard error is written; empty: as ``form``.
    """

    name: str
    percent: bool = False
    less_is_better: bool = False
    form: str = ".3f"
    error_form: str = ""

    def text(self, mean: float, error: float | None = None, sign: bool = False) -> str:
        """``mean ± error``; the mean with a plus where ``sign`` is true and it is not negative."""
        factor, form = (100, ".1f") if self.percent else (1, self.form)
        text = f"{factor * mean:{'+' if sign else ''}{form}}"
        return text if error is None else f"{text} ± {factor * error:{self.error_form or form}}"


@dataclass(frozen=True)
class Cell:
    """The number of one row in one column.

    Args:
        mean: the mean score.
        error: its standard error; None: of a single score there is none.
        scores: what ± is over: one per draw of labels, fold, held-out group, seed or run.
        draws: the scores that ``scores`` are means of; None: there are no others.
    """

    mean: float
    error: float | None = None
    scores: Sequence[float] = ()
    draws: list[Any] | None = None

    @classmethod
    def of(cls, scores: Sequence[float], draws: list[Any] | None = None) -> Cell:
        """Mean and standard error of ``scores``, of which there must be at least one."""
        return cls(float(np.mean(scores)), standard_error(scores), scores, draws)


@dataclass(frozen=True)
class Row:
    """Scores of one kind in all columns.

    Args:
        name: what was measured.
        measure: what the numbers are.
        cells: by column; a column may be missing.
        details: further entries of the row in the JSON file; ``labels_per_class`` (None: all) is shown, too.
    """

    name: str
    measure: Measure
    cells: dict[str, Cell]
    details: dict[str, Any] = field(default_factory=dict)

    def label(self, unit: bool = False) -> str:
        """Its name and on how many labels, where the details say so; with ``unit`` also whether it is in percent."""
        name = f"{self.name}, %" if unit and self.measure.percent else self.name
        if "labels_per_class" not in self.details:
            return name
        number = self.details["labels_per_class"]
        if number is None:
            return f"{name}, all labels"
        return f"{name}, {number:.3g} of labels" if isinstance(number, float) else f"{name}, {number} per class"

    def gain(self, column: str, over: str) -> tuple[float, float | None]:
        """How much better ``column`` is than ``over``, score by score: mean and standard error.

        A column with a single score is compared with each score of the other.
        """
        differences = np.subtract(self.cells[column].scores, self.cells[over].scores)
        differences = -differences if self.measure.less_is_better else differences
        return float(differences.mean()), standard_error(differences)

    def best(self) -> float | None:
        """The best mean of its cells; None where it has none."""
        means = [cell.mean for cell in self.cells.values()]
        return (min if self.measure.less_is_better else max)(means, default=None)


@dataclass(frozen=True)
class Results:
    """A table of scores, and what the numbers mean.

    Args:
        title: above the table. Rows in percent say so themselves where it has no ``%``.
        columns: those of ``rows`` in order, the one to be compared with the others last.
        rows: from above.
        caption: lines below the table; empty ones are left out.
        details: further entries of the JSON file: sizes, settings and whatever else was measured.
        head: the heading of the rows' names.
        gain: the heading of the last column's gain over another, such as ``gain over {}``; empty: gains are not shown.
        bold: what the best of is in bold, ``row`` or ``column``; empty: nothing is.
        spread: what ``error`` of the cells is.
        notes: headings of columns of words after the numbers; the rows' details have the words.
    """

    title: str
    columns: list[str]
    rows: list[Row]
    caption: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    head: str = ""
    gain: str = ""
    bold: str = "row"
    spread: str = "standard error"
    notes: list[str] = field(default_factory=list)

    @property
    def caption_text(self) -> str:
        """The lines of the caption."""
        return "\n".join(line for line in self.caption if line)

    @property
    def has_errors(self) -> bool:
        """Whether any of its means has an error, so that ± must be explained."""
        return any(cell.error is not None for row in self.rows for cell in row.cells.values())

    def about(self, *lines: str) -> Results:
        """The same with ``lines`` before its caption, such as a sentence on the model."""
        return replace(self, caption=[*lines, *self.caption])

    def is_best(self, row: Row, column: str) -> bool:
        """Whether a cell is to be in bold; where all cells of a column are alike, none of them is."""
        mean = row.cells[column].mean
        if self.bold == "row":
            return len(self.columns) > 1 and mean == row.best()
        if not self.bold:
            return False
        means = [one.cells[column].mean for one in self.rows if column in one.cells]
        return mean == (min if row.measure.less_is_better else max)(means) and len(set(means)) > 1

    def show(self) -> None:
        """Print it: in colours to a terminal, as plain text to anything else."""
        if not sys.stdout.isatty():
            print(self.text(), end="")
            return
        from rich.console import Console

        Console().print(self.table())
        print(self.caption_text)

    def text(self, width: int = 200) -> str:
        """The table without colours in lines of at most ``width`` characters, and the caption."""
        from rich.console import Console

        console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
        console.print(self.table())
        lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
        return "\n\n".join(filter(None, ["\n".join(lines).strip("\n"), self.caption_text])) + "\n"

    def table(self) -> Table:
        """The table for a terminal: ``mean ± standard error``, the best in bold, gains of the last column."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        title = Text(self.title, "table.title", no_wrap=True, overflow="ignore")
        drawn = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
        drawn.add_column(self.head, no_wrap=not self.notes)  # rows with words are runs, whose paths may be long
        for column in self.columns:
            drawn.add_column(column.replace(", ", ",\n"), justify="right", no_wrap=True)
        others = self.columns[:-1] if self.gain else []
        for column in others:
            drawn.add_column(self.gain.format(column.split(", ")[-1].split()[0]), justify="right", no_wrap=True)
        for heading in self.notes:
            drawn.add_column(heading, no_wrap=True)
        for row in self.rows:
            gains = [row.measure.text(*row.gain(self.columns[-1], column), sign=True) for column in others]
            words = [row.details[heading] for heading in self.notes]
            cells = [self._cell(row, column) for column in self.columns]
            drawn.add_row(row.label(unit="%" not in self.title), *cells, *gains, *words)
        return drawn

    def to_json(self) -> str:
        """Every score, with means, standard errors and gains worked out, then the details and the caption."""
        own = {name: getattr(self, name) for name in _SHOWN}
        rows = [self._entries(row) for row in self.rows]
        content = {"columns": self.columns, "rows": rows, **self.details, "caption": self.caption_text, **own}
        return json.dumps(content, indent=2, default=asdict) + "\n"

    @classmethod
    def from_json(cls, content: Any) -> Results:
        """What `to_json` wrote, parsed; also of files that have fewer entries.

        Means that are no finite numbers are left out, and rows without any. Details are plain lists and dicts.

        Args:
            content: parsed JSON; what is no table of means has no rows.
        """
        content = content if isinstance(content, Mapping) else {}
        given = content.get("rows")
        given = given if isinstance(given, list) and all(isinstance(row, Mapping) for row in given) else []
        own: dict[str, Any] = {"title": ""}
        own |= {name: content[name] for name, kind in _SHOWN.items() if isinstance(content.get(name), kind)}
        rows = [_read(row, own.get("spread", cls.spread)) for row in given]
        rows = [row for row in rows if row.cells]
        listed = [content[key] for key in ("columns", "encoders") if isinstance(content.get(key), list)]
        columns = listed[0] if listed and listed[0] else list(dict.fromkeys(name for row in rows for name in row.cells))
        caption = next((content[key] for key in ("caption", "about") if isinstance(content.get(key), str)), "")
        details = {key: value for key, value in content.items() if key not in ("columns", "rows", "caption", *_SHOWN)}
        return cls(columns=list(map(str, columns)), rows=rows, caption=caption.splitlines(), details=details, **own)

    def _cell(self, row: Row, column: str) -> str:
        if column not in row.cells:
            return MISSING
        cell = row.cells[column]
        text = row.measure.text(cell.mean, cell.error)
        return f"[bold]{text}[/bold]" if self.is_best(row, column) else text

    def _entries(self, row: Row) -> dict[str, Any]:
        cells, measure, last = row.cells, row.measure, self.columns[-1]
        gains = {column: row.gain(last, column) for column in self.columns[:-1]} if self.gain else {}
        return {
            "name": row.name,
            "scores": {column: cell.scores for column, cell in cells.items()},
            "measure": measure.name,
            "draws": {column: cell.draws for column, cell in cells.items() if cell.draws is not None} or None,
            "percent": measure.percent,
            "higher_is_better": not measure.less_is_better,
            **{name: getattr(measure, name) for name in _WRITTEN},
            "mean": {column: cell.mean for column, cell in cells.items()},
            self.spread.replace(" ", "_"): {column: cell.error for column, cell in cells.items()},
            "gain": gains,
            **row.details,
        }


_SHOWN = {"title": str, "head": str, "gain": str, "bold": str, "spread": str, "notes": list}
"""Fields of `Results` that say how a table looks; the JSON file has them as they are."""
_WRITTEN = {"form": str, "error_form": str}
_ROW = ("name", "scores", "measure", "draws", "percent", "higher_is_better", "mean", "gain", *_WRITTEN)


def over_runs(results: Sequence[Results]) -> Results:
    """One table whose scores are the means of each run; a column that only the first has is the same in all.

    Args:
        results: of runs that differ by their seed, with the same rows. The first has the caption and the details,
            of which ``over`` (what ± is over) and ``num_runs`` are replaced.
    """
    first = results[0]
    if len(results) == 1:
        return first
    rows = []
    for same in zip(*(result.rows for result in results), strict=True):
        cells = {}
        for column in first.columns:
            own = [row.cells[column] for row in same if column in row.cells]
            cells[column] = Cell.of([cell.mean for cell in own], [cell.draws or cell.scores for cell in own])
        rows.append(replace(same[0], cells=cells))
    details = first.details | {"over": f"{len(results)} runs", "num_runs": len(results)}
    return replace(first, rows=rows, details=details)


def standard_error(scores: Sequence[float] | np.ndarray) -> float | None:
    """The standard error of the mean of ``scores`` ``[n]``; None where n is 1."""
    return float(np.std(scores, ddof=1) / math.sqrt(len(scores))) if len(scores) > 1 else None


def _read(row: Mapping[str, Any], spread: str) -> Row:
    """A row of a JSON file, whose numbers are in percent where it says so or, in old files, where all are shares."""
    key = spread.replace(" ", "_")
    means, errors = _finite(row.get("mean")), _finite(row.get(key))
    scores, draws = (one if isinstance(one, Mapping) else {} for one in (row.get("scores"), row.get("draws")))
    less = row.get("higher_is_better") is False
    percent = row.get("percent", not less and all(abs(mean) <= 1 for mean in means.values())) is True
    written = {"form": ".4g"} | {name: row[name] for name, kind in _WRITTEN.items() if isinstance(row.get(name), kind)}
    measure = Measure(str(row.get("measure", "")), percent, less, **written)
    cells = {name: Cell(mean, errors.get(name), scores.get(name, ()), draws.get(name)) for name, mean in means.items()}
    return Row(str(row.get("name", "")), measure, cells, {k: v for k, v in row.items() if k not in (*_ROW, key)})


def _finite(numbers: Any) -> dict[str, float]:
    given = numbers.items() if isinstance(numbers, Mapping) else ()
    return {str(key): float(n) for key, n in given if isinstance(n, int | float) and math.isfinite(n)}
