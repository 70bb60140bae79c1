"""The probe's table: for a terminal, as plain text, and as JSON."""

from __future__ import annotations

import io
import json

from rich import box
from rich.console import Console
from rich.table import Table

from unmask.tools.features.labels import CLASSIFICATION
from unmask.tools.probe.columns import chosen
from unmask.tools.probe.fits import (
    ACCURACY,
    ALPHAS,
    ARI,
    COSTS,
    LARGE,
    MAE,
    MAP,
    MAX_ITER,
    MAX_ITER_LARGE,
    NMI,
    PROBES,
    R2,
    STRENGTHS,
)
from unmask.tools.probe.result import ProbeResult, Row

UNITS = {ACCURACY: "Accuracy, %", MAP: "Mean average precision, %", R2: "R²", MAE: "Mean absolute error"}


def table(result: ProbeResult) -> Table:
    """A rich table: means ± standard errors; in bold the best of a row, or of a column when rows are layers.

    Args:
        result: what was measured.
    """
    last = result.columns[-1]
    measures = list(dict.fromkeys(row.measure for row in result.rows))
    title = UNITS.get(measures[0], measures[0]) if len(measures) == 1 else "Scores (accuracy and mAP in %)"
    title = f"{title}: {result.by_layer}" if result.by_layer else title
    drawn = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    drawn.add_column("layer" if result.by_layer else "probe", no_wrap=True)
    for column in result.columns:
        drawn.add_column(column.replace(", ", ",\n"), justify="right", no_wrap=True)
    for column in result.columns[:-1]:
        drawn.add_column(f"gain over {column.split(', ')[-1].split()[0]}", justify="right", no_wrap=True)
    for row in result.rows:
        cells = []
        for column in result.columns:
            text = _number(row, row.mean(column), row.error(column))
            cells.append(f"[bold]{text}[/bold]" if _is_best(result, row, column) else text)
        gains = [_number(row, *row.gain(last, column), sign=True) for column in result.columns[:-1]]
        drawn.add_row(row.name, *cells, *gains)
    return drawn


def plain(result: ProbeResult, about: str = "", width: int = 200) -> str:
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
    lines = [about, _sizes(result), _spread(result)]
    names = chosen(result.protocol, result.task)
    if any(PROBES[name].scaled for name in names):
        lines.append(
            "Features centred and divided by one number" + (", except for the RBF SVM." if "rbf-svm" in names else ".")
        )
    lines += [_about(name, result) for name in names]
    return "\n".join(line for line in lines if line)


def _sizes(result: ProbeResult) -> str:
    what = {"classification": "classes", "multi-label": "labels", "regression": "numbers"}[result.task]
    told = f"{result.num_classes} {what}, {result.num_train} samples to fit, {result.num_test} to score on. "
    if result.protocol.num_folds is not None:
        told = f"{result.num_classes} {what}, {result.num_train + result.num_test} samples, all scored in turn. "
    elif result.parts:
        told = (
            f"{result.num_classes} {what}, {result.num_train + result.num_test} samples of {', '.join(result.parts)}. "
        )
    return told + "Widths: " + ", ".join(f"{name} {width}" for name, width in result.widths.items()) + "."


def _spread(result: ProbeResult) -> str:
    """What ± is over."""
    if all(row.error(column) is None for row in result.rows for column in result.columns):
        return ""
    draws, protocol = f"{result.protocol.num_draws} draws of labels", result.protocol
    inner = [f"{len(result.parts)} {'folds' if protocol.num_folds else 'held-out groups'}"] if result.parts else []
    inner += [draws] if result.labels_per_class else []
    told = f"± standard error over {result.over}"
    averaged = [one for one in inner if one != result.over]
    told += f", each the mean over its {' and '.join(averaged)}" if averaged else ""
    told += f" (seed {protocol.seed})" if result.labels_per_class else ""
    told += "; raw input is the same in all runs" if result.num_runs > 1 else ""
    return f"{told}. The same draws in all columns; gains are paired."


def _about(name: str, result: ProbeResult) -> str:
    """How a probe is fitted."""
    protocol = result.protocol
    strengths, costs = (", ".join(f"{one:g}" for one in grid) for grid in (STRENGTHS, COSTS))
    inner = "up to 5 folds of the labels to fit on"
    return {
        "knn": f"kNN: {protocol.num_neighbors} neighbours, cosine, weights exp(cosine / {protocol.temperature:g}).",
        "linear": f"Linear: logistic regression, C of {{{strengths}}} by cross-validation on the drawn labels (one "
        f"split from {LARGE:,} labels on), at most {MAX_ITER:,} iterations of L-BFGS ({MAX_ITER_LARGE} from there on).",
        "svm": f"Linear SVM: squared hinge, C of {{{costs}}} by cross-validation on {inner}.",
        "rbf-svm": f"RBF SVM: features as they are, C of {{{costs}}} by cross-validation on {inner}.",
        "ridge": f"Ridge: strength of {ALPHAS[0]:g} to {ALPHAS[-1]:g} by leaving one row out; "
        + (
            "classes as 1 and -1."
            if result.task == CLASSIFICATION
            else "R² and error are means over what is predicted."
        ),
        "kmeans": f"k-means: {result.num_classes} clusters of all samples, the best of 10 starts; {NMI} and {ARI} "
        "against the labels.",
    }[name]


def _is_best(result: ProbeResult, row: Row, column: str) -> bool:
    if not result.by_layer:
        return row.mean(column) == row.best(result.columns)
    means = [one.mean(column) for one in result.rows]
    best = min(means) if row.less_is_better else max(means)
    return row.mean(column) == best and len(set(means)) > 1  # of raw input no layer is the best


def _number(row: Row, mean: float, error: float | None, sign: bool = False) -> str:
    def text(value: float, plus: str = "") -> str:
        return (
            f"{100 * value:{plus}.1f}"
            if row.percent
            else f"{value:{plus}.3g}"
            if row.measure == MAE
            else f"{value:{plus}.3f}"
        )

    told = text(mean, "+" if sign else "")
    return told if error is None else f"{told} ± {text(error)}"
