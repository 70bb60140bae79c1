"""What probes found: a score for each draw, fold, group or run, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from unmask.tools.probe.fits import ACCURACY, MAE, MAP
from unmask.tools.probe.protocol import Protocol


@dataclass(frozen=True)
class Row:
    """Scores of one probe.

    Args:
        name: the probe.
        scores: what ± is over, by column: a score per draw of labels, or the mean of each fold, held-out group or
            run; one number when there is only one.
        measure: what the scores are: accuracy and mAP are in [0, 1].
        draws: the scores that ``scores`` are means of, by column; None: there are no others.
    """

    name: str
    scores: dict[str, list[float]]
    measure: str = ACCURACY
    draws: dict[str, list[Any]] | None = None

    @property
    def percent(self) -> bool:
        """Whether the measure is told in percent."""
        return self.measure in (ACCURACY, MAP)

    @property
    def less_is_better(self) -> bool:
        """Whether the measure is an error."""
        return self.measure == MAE

    def mean(self, column: str) -> float:
        """The mean score."""
        return float(np.mean(self.scores[column]))

    def error(self, column: str) -> float | None:
        """Its standard error; None for a single one."""
        return _standard_error(self.scores[column])

    def gain(self, column: str, over: str) -> tuple[float, float | None]:
        """How much better ``column`` is than ``over``, score by score: mean and standard error."""
        differences = np.subtract(self.scores[column], self.scores[over])
        differences = -differences if self.less_is_better else differences
        return float(differences.mean()), _standard_error(differences)

    def best(self, columns: Sequence[str]) -> float:
        """The best mean among ``columns``."""
        return (min if self.less_is_better else max)(self.mean(column) for column in columns)


@dataclass(frozen=True)
class ProbeResult:
    """All rows, and what they were measured on.

    Args:
        rows: one per probe and number of labels, or one per layer.
        columns: of all rows, the one to be compared with the others last.
        task: the kind of labels.
        num_train: samples (or tokens) to fit on.
        num_test: samples to score on.
        num_classes: classes, labels of a multi-label task, or numbers of a regression.
        widths: of the features, by column.
        protocol: the settings.
        labels_per_class: numbers of labels that were drawn.
        over: what ± is over: ``10 draws of labels``, ``10 folds``, ``6 held-out groups`` or ``3 runs``.
        num_runs: runs measured.
        by_layer: the probe whose rows are layers, so that the best of a column is looked for; empty: rows are probes.
        parts: names of the held-out groups or folds; empty for the one split of the data.
    """

    rows: list[Row]
    columns: list[str]
    task: str
    num_train: int
    num_test: int
    num_classes: int
    widths: dict[str, int]
    protocol: Protocol
    labels_per_class: tuple[int, ...]
    over: str
    num_runs: int = 1
    by_layer: str = ""
    parts: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and strings, with means, standard errors and gains worked out."""
        last = self.columns[-1]
        plain = asdict(self)
        return (
            {key: value for key, value in plain.items() if key not in ("protocol", "labels_per_class")}
            | plain["protocol"]
            | {"labels_per_class": self.labels_per_class}
            | {
                "rows": [
                    asdict(row)
                    | {
                        "percent": row.percent,
                        "higher_is_better": not row.less_is_better,
                        "mean": {column: row.mean(column) for column in self.columns},
                        "standard_error": {column: row.error(column) for column in self.columns},
                        "gain": {column: row.gain(last, column) for column in self.columns[:-1]},
                    }
                    for row in self.rows
                ]
            }
        )


def over_runs(results: Sequence[ProbeResult]) -> ProbeResult:
    """One result whose scores are the means of each run; a column that only the first has is the same in all.

    Args:
        results: of runs that differ by their seed, with the same rows.
    """
    first = results[0]
    if len(results) == 1:
        return first
    rows = []
    for same in zip(*(result.rows for result in results), strict=True):
        own = {column: [row for row in same if column in row.scores] for column in first.columns}
        rows.append(
            replace(
                same[0],
                scores={column: [row.mean(column) for row in of] for column, of in own.items()},
                draws={column: [(row.draws or row.scores)[column] for row in of] for column, of in own.items()},
            )
        )
    return replace(first, rows=rows, over=f"{len(results)} runs", num_runs=len(results))


def _standard_error(scores: Sequence[float] | np.ndarray) -> float | None:
    return float(np.std(scores, ddof=1) / math.sqrt(len(scores))) if len(scores) > 1 else None
