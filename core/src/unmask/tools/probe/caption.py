"""What a probe's table says above and below itself: the measure, sizes, what ± is over, how each probe is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from unmask.tools.features.labels import CLASSIFICATION
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
    OF_CLASSES,
    PROBES,
    R2,
    STRENGTHS,
)
from unmask.tools.probe.protocol import Protocol
from unmask.tools.results import Results, Row

UNITS = {ACCURACY: "Accuracy, %", MAP: "Mean average precision, %", R2: "R²", MAE: "Mean absolute error"}


def title_of(rows: Sequence[Row]) -> str:
    """The measure that all rows have; of several, which are in percent."""
    measures = list(dict.fromkeys(row.measure.name for row in rows))
    if len(measures) == 1 or set(measures) <= set(OF_CLASSES):
        return UNITS.get(measures[0], measures[0]) + (", or as its row says" if len(measures) > 1 else "")
    return "Scores (accuracy and mAP in %)"


def captioned(result: Results, protocol: Protocol, probes: Sequence[str]) -> Results:
    """``result`` with its caption: sizes, what ± is over, and how each of ``probes`` (names) is fitted."""
    lines = [_sizes(result, protocol), _spread(result, protocol)]
    if any(PROBES[name].scaled for name in probes):
        lines.append(
            "Features centred and divided by one number" + (", except for the RBF SVM." if "rbf-svm" in probes else ".")
        )
    lines += [_about(name, result, protocol) for name in probes]
    return replace(result, caption=lines)


def _sizes(result: Results, protocol: Protocol) -> str:
    facts = result.details
    train, test, parts = facts["num_train"], facts["num_test"], facts["parts"]
    what = {"classification": "classes", "multi-label": "labels", "regression": "numbers"}[facts["task"]]
    told = f"{train} samples to fit, {test} to score on"
    if protocol.num_folds is not None:
        told = f"{train + test} samples, all scored in turn"
    elif parts:
        told = f"{train + test} samples of {', '.join(parts)}"
    if facts["num_pieces"]:
        told += f", each the mean over its pieces ({facts['num_pieces']:,} in all)"
    return f"{facts['num_classes']} {what}, {told}. {widths_told(facts['widths'])}"


def widths_told(widths: Mapping[str, int]) -> str:
    """How wide the features of each column are."""
    return f"Widths: {', '.join(f'{name} {width}' for name, width in widths.items())}."


def _spread(result: Results, protocol: Protocol) -> str:
    """What ± is over."""
    if not result.has_errors:
        return ""
    facts, few = result.details, result.details["labels_per_class"]
    parts, over = facts["parts"], facts["over"]
    inner = [f"{len(parts)} {'folds' if protocol.num_folds else 'held-out groups'}"] if parts else []
    inner += [f"{protocol.num_draws} draws of labels"] if few else []
    told = f"± standard error over {over}"
    averaged = [one for one in inner if one != over]
    told += f", each the mean over its {' and '.join(averaged)}" if averaged else ""
    told += f" (seed {protocol.seed})" if few else ""
    told += "; raw input is the same in all runs" if facts["num_runs"] > 1 else ""
    return f"{told}. The same draws in all columns; gains are paired."


def _about(name: str, result: Results, protocol: Protocol) -> str:
    """How a probe is fitted."""
    kind, classes = result.details["task"], result.details["num_classes"]
    strengths, costs = (", ".join(f"{one:g}" for one in grid) for grid in (STRENGTHS, COSTS))
    inner = "up to 5 folds of the labels to fit on"
    return {
        "knn": f"kNN: {protocol.num_neighbors} neighbours, cosine, weights exp(cosine / {protocol.temperature:g}).",
        "linear": f"Linear: logistic regression, C of {{{strengths}}} by cross-validation on the drawn labels (one "
        f"split from {LARGE:,} labels on), at most {MAX_ITER:,} iterations of L-BFGS ({MAX_ITER_LARGE} from there on).",
        "svm": f"Linear SVM: squared hinge, C of {{{costs}}} by cross-validation on {inner}.",
        "rbf-svm": f"RBF SVM: features as they are, C of {{{costs}}} by cross-validation on {inner}.",
        "ridge": f"Ridge: strength of {ALPHAS[0]:g} to {ALPHAS[-1]:g} by leaving one row out; "
        + ("classes as 1 and -1." if kind == CLASSIFICATION else "R² and error are means over what is predicted."),
        "kmeans": f"k-means: {classes} clusters of all samples, the best of 10 starts; {NMI} and {ARI} "
        "against the labels.",
    }[name]
