"""The probe's table: for a terminal, as plain text, and as JSON."""

from __future__ import annotations

import io
import json

from rich import box
from rich.console import Console
from rich.table import Table

from unmask.evaluate.probe import LARGE, NUM_NEIGHBORS, STRENGTHS, TEMPERATURE, ProbeResult


def table(result: ProbeResult) -> Table:
    """A rich table: accuracy in percent, ± standard error over draws; the best of a row in bold.

    Args:
        result: what was measured.
    """
    last = result.columns[-1]
    drawn = Table(box=box.SIMPLE_HEAD, title="Accuracy, %", title_justify="left")
    drawn.add_column("probe", no_wrap=True)
    for column in result.columns:
        drawn.add_column(column, justify="right", no_wrap=True)
    for column in result.columns[:-1]:
        drawn.add_column(f"gain over {column.split()[0]}", justify="right", no_wrap=True)
    for row in result.rows:
        best = max(row.mean(column) for column in result.columns)
        cells = []
        for column in result.columns:
            text = _number(row.mean(column), row.error(column))
            cells.append(f"[bold]{text}[/bold]" if row.mean(column) == best else text)
        gains = [_number(*row.gain(last, column), sign=True) for column in result.columns[:-1]]
        drawn.add_row(row.name, *cells, *gains)
    return drawn


def plain(result: ProbeResult, about: str = "", width: int = 120) -> str:
    """The same table as text without colours, and its caption."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    console.print(table(result))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    return "\n".join(lines).strip("\n") + "\n\n" + caption(result, about) + "\n"


def to_json(result: ProbeResult, about: str = "") -> str:
    """Every score of every draw, and the caption."""
    return json.dumps(result.as_dict() | {"caption": caption(result, about)}, indent=2) + "\n"


def caption(result: ProbeResult, about: str = "") -> str:
    """What the numbers mean: ``about`` (a sentence on the model and its budget), sizes, seed, protocol."""
    widths = ", ".join(f"{name} {width}" for name, width in result.widths.items())
    strengths = ", ".join(f"{strength:g}" for strength in STRENGTHS)
    lines = [
        about,
        f"{result.num_classes} classes, {result.num_train} samples to fit, {result.num_test} to score on. "
        f"Widths: {widths}.",
        f"± standard error over {result.num_draws} draws of labels (seed {result.seed}), the same draws in "
        "all columns; gains are paired.",
        "Features centred and divided by one number. kNN: "
        f"{NUM_NEIGHBORS} neighbours, cosine, weights exp(cosine / {TEMPERATURE}).",
        f"Linear: logistic regression, C of {{{strengths}}} by cross-validation on the drawn labels "
        f"(one split from {LARGE:,} labels on).",
    ]
    return "\n".join(line for line in lines if line)


def _number(mean: float, error: float | None, sign: bool = False) -> str:
    text = f"{100 * mean:+.1f}" if sign else f"{100 * mean:.1f}"
    return text if error is None else f"{text} ± {100 * error:.1f}"
