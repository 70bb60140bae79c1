"""Probes of any features: each column gets the same draws, the same splits and the same fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from unmask.support.nearest import nearest, quoted
from unmask.tools.features.labels import CLASSIFICATION, MULTI_LABEL, REGRESSION
from unmask.tools.probe.caption import captioned, title_of
from unmask.tools.probe.fits import ACCURACY, DEFAULTS, MEASURES, PROBES, scaled, score
from unmask.tools.probe.protocol import Part, Protocol, capped, draw, few_labels, parts_of
from unmask.tools.results import Cell, Results, Row

Features = Mapping[str, tuple[np.ndarray, np.ndarray]]
Watch = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def probe_columns(
    columns: Features,
    train_labels: np.ndarray,
    test_labels: np.ndarray,
    *,
    train_groups: np.ndarray | None = None,
    test_groups: np.ndarray | None = None,
    watch: Watch = lambda what, done, total: None,
    **settings: Any,
) -> Results:
    """Probes any features: by column, a matrix to fit on ``[n, D]`` and one to score on ``[m, D]``.

    Features are centred and divided by one number, the root of their mean variance over the fitted matrix. Not
    feature by feature: that magnifies dim pixels at an image's border and would cost raw digits
    two points of accuracy, in favour of the encoder. The RBF machine gets them as they are.

    Args:
        columns: the one to be compared with the others last.
        train_labels: ``[n]`` class ids, ``[n, C]`` 0 or 1, or floating point ``[n]`` or ``[n, C]`` for regression.
        test_labels: ``[m]`` or ``[m, C]`` likewise.
        train_groups: ``[n]`` numbers or words; with ``test_groups``, each group is left out in turn.
        test_groups: ``[m]`` likewise.
        watch: see `Watch`.
        settings: as of `Protocol`.

    Returns:
        A row per probe, number of labels and measure. Its details are the settings as of `Protocol`, with the
        numbers of labels that were drawn in ``labels_per_class``, and:

        - ``task``: the kind of labels
        - ``num_train``, ``num_test``: samples (or tokens) to fit on, and to score on
        - ``num_pieces``: samples that these are the means of, where some are pieces of one thing; 0: each is a whole
        - ``num_classes``: classes, labels of a multi-label task, or numbers of a regression
        - ``widths``: of the features, by column
        - ``over``: what ± is over: ``10 draws of labels``, ``10 folds``, ``6 held-out groups`` or ``3 runs``
        - ``num_runs``: runs measured
        - ``by_layer``: the probe whose rows are layers; empty: rows are probes
        - ``parts``: names of the held-out groups or folds; empty for the one split of the data

    Raises:
        ValueError: a setting outside its range, an unknown probe or one that does not suit the labels, fewer than
            two classes, more labels per class asked for than there are, or features or labels that are not finite.
    """
    groups = None if train_groups is None or test_groups is None else (train_groups, test_groups)
    return probed(columns, (train_labels, test_labels), Protocol(**settings), groups, watch)


def probed(
    columns: Features,
    labels: tuple[np.ndarray, np.ndarray],
    protocol: Protocol,
    groups: tuple[np.ndarray, np.ndarray] | None,
    watch: Watch,
) -> Results:
    """`probe_columns` with its settings in one object."""
    answers = np.concatenate(labels)
    answers = answers[:, 0] if answers.ndim == 2 and answers.shape[1] == 1 else answers
    kind = kind_of(answers)
    names = chosen(protocol, kind)
    for name, values in [("labels", [answers]), *((f"features of `{name}`", pair) for name, pair in columns.items())]:
        if not all(np.isfinite(matrix).all() for matrix in values if matrix.dtype.kind == "f"):
            raise ValueError(f"The {name} must be finite, but hold NaN or infinity.")
    parts = parts_of(protocol, answers, len(labels[0]), kind, None if groups is None else np.concatenate(groups))
    few = few_labels(protocol, answers, parts) if kind == CLASSIFICATION else ()
    plan = [fit for name in names for fit in _rows(name, few, protocol, parts)]

    # No label is used to find clusters, so nothing is held out of them.
    everything = Part("", np.arange(len(answers)), np.arange(len(answers)))
    work = [(part, [fit for fit in plan if fit.probe != "kmeans"]) for part in parts]
    work.append((everything, [fit for fit in plan if fit.probe == "kmeans"]))
    done, total = 0, len(columns) * sum(len(fit.draws(answers, protocol)) for _, fits in work for fit in fits)
    found: dict[_Fit, dict[str, list[list[list[float]]]]] = {fit: {name: [] for name in columns} for fit in plan}
    for column, both in columns.items():
        rows = np.concatenate(both)  # [n + m, D]
        for part, fits in work:
            train, test = rows[part.fit], rows[part.score]
            pair = scaled(train, test) if any(PROBES[fit.probe].scaled for fit in fits) else None
            for fit in fits:
                probe, scores = PROBES[fit.probe], []
                for index in fit.draws(answers[part.fit], protocol):
                    watch(f"{fit.name}, {column}", done, total)
                    fitted, scored = pair if pair is not None and probe.scaled else (train, test)
                    predicted = probe.fit(fitted[index], answers[part.fit][index], scored, protocol)
                    scores.append([score(measure, answers[part.score], predicted) for measure in fit.measures(kind)])
                    done += 1
                found[fit][column].append(scores)
    watch("done", done, total)

    told = [row for fit, scores in found.items() for row in _told(fit, kind, scores)]
    details = {
        "task": kind,
        "num_train": len(labels[0]),
        "num_test": len(labels[1]),
        "num_pieces": 0,
        "num_classes": len(np.unique(answers)) if kind == CLASSIFICATION else math.prod(answers.shape[1:]),
        "widths": {name: train.shape[1] for name, (train, _) in columns.items()},
        "over": _over(protocol, groups is not None, parts),
        "num_runs": 1,
        "by_layer": "",
        "parts": tuple(part.name for part in parts if part.name),
        **asdict(protocol),
        "labels_per_class": few if any(fit.few for fit in plan) else (),
    }
    result = Results(title_of(told), list(columns), told, details=details, head="probe", gain="gain over {}")
    return captioned(result, protocol, names)


def kind_of(labels: np.ndarray) -> str:
    """The kind of task that labels ask for."""
    if labels.dtype.kind == "f":
        return REGRESSION
    return MULTI_LABEL if labels.ndim > 1 else CLASSIFICATION


def chosen(protocol: Protocol, kind: str) -> tuple[str, ...]:
    """The probes asked for, or those that suit the task.

    Raises:
        ValueError: an unknown probe, or one that does not suit it.
    """
    names = tuple(DEFAULTS[kind] if protocol.probes is None else protocol.probes)
    for name in names:
        if name not in PROBES:
            near = quoted(nearest(name, PROBES) or PROBES)
            raise ValueError(f"`probes` must be among {', '.join(PROBES)}, but has `{name}`; nearest: {near}.")
        if kind not in PROBES[name].measures:
            fitting = quoted(one for one, probe in PROBES.items() if kind in probe.measures)
            raise ValueError(f"`probes` must be among {fitting} for {kind}, but has `{name}`.")
    if not names:
        raise ValueError("`probes` must name at least one, but is empty.")
    if kind != CLASSIFICATION and protocol.labels_per_class:
        raise ValueError(f"`labels_per_class` must be left out for {kind}, but is {list(protocol.labels_per_class)}.")
    return names


class _Fit(NamedTuple):
    """A row of the table: a probe, on all labels (or as many as its cap lets through) or on a few per class."""

    probe: str
    name: str
    few: int | None
    most: int | None

    def measures(self, kind: str) -> tuple[str, ...]:
        every = PROBES[self.probe].measures[kind]
        return every if self.few is None else every[:1]

    def draws(self, labels: np.ndarray, protocol: Protocol) -> list[np.ndarray]:
        if self.few is None:
            return [capped(len(labels), self.most, protocol.seed)]
        return [
            draw(labels, self.few, np.random.default_rng((protocol.seed, number)))
            for number in range(protocol.num_draws)
        ]


def _rows(name: str, few: Sequence[int], protocol: Protocol, parts: Sequence[Part]) -> list[_Fit]:
    title = PROBES[name].title
    if name == "kmeans":
        return [_Fit(name, title, None, None)]
    most, what = (protocol.max_stored, "stored") if name == "knn" else (protocol.max_labels, "labels")
    cut = most is not None and any(len(part.fit) > most for part in parts)
    fits = [_Fit(name, f"{title}, {most:,} {what}" if cut else f"{title}, all labels", None, most)]
    return fits + [_Fit(name, f"{title}, {number} per class", number, None) for number in few if PROBES[name].few]


def _told(fit: _Fit, kind: str, scores: Mapping[str, list[list[list[float]]]]) -> list[Row]:
    """A row per measure; accuracy, which the title names, is not named again."""
    measures = fit.measures(kind)
    rows = []
    for number, measure in enumerate(measures):
        name = fit.name if len(measures) == 1 or measure == ACCURACY else f"{fit.name}, {measure}"
        own = {column: [[one[number] for one in part] for part in parts] for column, parts in scores.items()}
        rows.append(Row(name, MEASURES[measure], {column: _cell(parts, fit) for column, parts in own.items()}))
    return rows


def _cell(parts: list[list[float]], fit: _Fit) -> Cell:
    """The scores of the only split of the data; else the mean of each fold or group."""
    if len(parts) == 1:
        return Cell.of(parts[0])
    return Cell.of([float(np.mean(part)) for part in parts], parts if fit.few is not None else None)


def _over(protocol: Protocol, grouped: bool, parts: Sequence[Part]) -> str:
    if grouped:
        return f"{len(parts)} held-out groups"
    return f"{len(parts)} folds" if protocol.num_folds is not None else f"{protocol.num_draws} draws of labels"
