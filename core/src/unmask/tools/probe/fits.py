"""The probes themselves: simple models that scikit-learn fits on frozen features."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV, RidgeCV
from sklearn.metrics import (
    adjusted_rand_score,
    average_precision_score,
    f1_score,
    make_scorer,
    mean_absolute_error,
    normalized_mutual_info_score,
    r2_score,
    recall_score,
    root_mean_squared_error,
)
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, StratifiedShuffleSplit
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.svm import SVC, LinearSVC
from threadpoolctl import threadpool_limits

from unmask.tools.features.labels import CLASSIFICATION, MULTI_LABEL, REGRESSION
from unmask.tools.probe.protocol import Protocol
from unmask.tools.results import Measure

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
"""Inverse strengths of regularisation of logistic regression to choose from."""
COSTS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""C of a support vector machine to choose from."""
ALPHAS = tuple(10.0**power for power in range(-3, 6))
"""Strengths of ridge regression to choose from."""
LARGE = 10_000
"""From so many labels on, one split of them chooses the strength instead of five."""
MAX_ITER, MAX_ITER_LARGE = 1000, 200
"""Iterations of logistic regression, and of one with `LARGE` labels or more."""
LARGEST_KERNEL = 20_000
"""Labels beyond which an RBF machine, whose cost grows with their square, is refused."""

ACCURACY, BALANCED, F1, MAP = SHARES = "accuracy", "balanced accuracy", "macro F1", "mAP"
R2, MAE, RMSE, NMI, ARI = "R²", "MAE", "RMSE", "NMI", "ARI"
MEASURES = {name: Measure(name, percent=name in SHARES) for name in (*SHARES, R2, NMI, ARI)}
MEASURES |= {name: Measure(name, less_is_better=True, form=".3g") for name in (MAE, RMSE)}
OF_CLASSES = (ACCURACY, BALANCED, F1)
"""Of a classifier; with few labels per class, the first alone."""


class Probe(NamedTuple):
    """One kind of probe.

    Args:
        title: its name in a table.
        measures: what is told of it, by kind of task; a task that is not there is refused.
        fit: from features and labels to fit on and features to score on, makes predictions for these.
        few: whether it is also fitted on a few labels per class.
        scaled: whether features are centred and divided by one number first.
    """

    title: str
    measures: Mapping[str, tuple[str, ...]]
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray, Protocol], np.ndarray]
    few: bool = False
    scaled: bool = True


def scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features centred and divided by one number, the root of their mean variance over ``train``."""
    center = train.mean(0, dtype=np.float64)
    std = math.sqrt(train.var(0, dtype=np.float64).mean()) or 1.0
    return ((train - center) / std).astype(np.float32), ((test - center) / std).astype(np.float32)


def score(measure: str, answers: np.ndarray, predicted: np.ndarray) -> float:
    """One number; of MAE and RMSE less is better, of all others more."""
    if measure == MAP:
        known = answers.any(0)  # a class that nobody has says nothing
        return float(np.mean([average_precision_score(answers[:, c], predicted[:, c]) for c in np.flatnonzero(known)]))
    if measure == ACCURACY:
        return float(np.mean(predicted == answers))
    if measure == BALANCED:  # scikit-learn's own warns of classes that nobody is of
        return float(recall_score(answers, predicted, labels=np.unique(answers), average="macro"))
    return float(_SCORES[measure](answers, predicted))


_SCORES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    F1: partial(f1_score, average="macro"),
    R2: r2_score,
    MAE: mean_absolute_error,
    RMSE: root_mean_squared_error,
    NMI: normalized_mutual_info_score,
    ARI: adjusted_rand_score,
}


def _knn(train: np.ndarray, labels: np.ndarray, test: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Neighbours by cosine, weighted by ``exp(cosine / temperature)`` (DINO, Caron et al. 2021)."""
    kind = KNeighborsClassifier if labels.ndim == 1 and labels.dtype.kind != "f" else KNeighborsRegressor
    neighbors = kind(
        min(protocol.num_neighbors, len(train)),
        metric="cosine",
        weights=lambda distance: np.exp((1 - distance) / protocol.temperature),
    )
    return neighbors.fit(train, labels).predict(test)


def _linear(train: np.ndarray, labels: np.ndarray, test: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Logistic regression; its strength is chosen by cross-validation on the given labels alone."""
    large = len(train) >= LARGE
    if len(train) < train.shape[1]:  # weights lie in the span of the rows: the same answers, of fewer features
        basis = np.linalg.qr(train.T)[0]
        train, test = train @ basis, test @ basis
    classifier: Any = LogisticRegression(max_iter=MAX_ITER_LARGE if large else MAX_ITER)
    if labels.ndim > 1:
        return _one_vs_rest(classifier, train, labels, test, protocol)
    fewest = _fewest(labels)
    if fewest > 1:
        folds: Any = StratifiedKFold(min(5, fewest), shuffle=True, random_state=protocol.seed)
        if large:
            folds = StratifiedShuffleSplit(1, test_size=0.2, random_state=protocol.seed)
        # By log-likelihood: accuracy on a handful of labels ties, and ties would go to the smallest C.
        classifier = GridSearchCV(classifier, {"C": STRENGTHS}, cv=folds, scoring="neg_log_loss")
    with warnings.catch_warnings(), threadpool_limits(None if large else 1, "blas"):
        # On fewer labels threads wait for each other far longer than they work: measured, 10 to 25 times as long.
        warnings.simplefilter("ignore", ConvergenceWarning)  # of strengths that are not chosen, mostly
        return classifier.fit(train, labels).predict(test)


def _one_vs_rest(
    classifier: Any, train: np.ndarray, labels: np.ndarray, test: np.ndarray, protocol: Protocol
) -> np.ndarray:
    """Scores ``[m, C]`` of one logistic regression per class, all of one strength."""
    scorer = make_scorer(lambda answers, scores: score(MAP, answers, scores), response_method="predict_proba")
    folds = KFold(min(5, len(train)), shuffle=True, random_state=protocol.seed)
    search = GridSearchCV(
        OneVsRestClassifier(classifier), {"estimator__C": STRENGTHS}, cv=folds, scoring=scorer, error_score="raise"
    )
    with warnings.catch_warnings(), threadpool_limits(None if len(train) >= LARGE else 1, "blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Label .* present in all training examples")  # a class none has there
        return search.fit(train, labels).predict_proba(test)


def _svm(train: np.ndarray, labels: np.ndarray, test: np.ndarray, protocol: Protocol) -> np.ndarray:
    machine = LinearSVC(random_state=protocol.seed, max_iter=MAX_ITER)
    return by_cost(machine, train, labels, test)


def _rbf_svm(train: np.ndarray, labels: np.ndarray, test: np.ndarray, protocol: Protocol) -> np.ndarray:
    if len(train) > LARGEST_KERNEL:
        raise ValueError(
            f"`max_labels` must be at most {LARGEST_KERNEL:,} for the probe `rbf-svm`, whose cost grows with the "
            f"square of the labels, but there are {len(train):,} to fit on."
        )
    return by_cost(SVC(kernel="rbf"), train, labels, test)


def by_cost(machine: Any, train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Classes that a support vector machine gives to ``test`` ``[m, D]``, fitted on ``train`` ``[n, D]``.

    C is chosen by inner cross-validation in order, five folds where every class has as many (GraphMAE's protocol).
    """
    fewest = _fewest(labels)
    if fewest > 1:
        machine = GridSearchCV(machine, {"C": COSTS}, cv=min(5, fewest))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return machine.fit(train, labels).predict(test)


def _ridge(train: np.ndarray, labels: np.ndarray, test: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Ridge regression, of classes on 1 and -1; its strength is chosen by leaving out one row at a time.

    All in closed form: quick with many classes, and exact where a few directions have most of the variance, for which
    logistic regression needs more steps than it is given.
    """
    kind = RidgeCV if labels.dtype.kind == "f" else RidgeClassifierCV
    return kind(alphas=ALPHAS).fit(train, labels).predict(test)


def _clusters(train: np.ndarray, labels: np.ndarray, test: np.ndarray, protocol: Protocol) -> np.ndarray:
    """k-means with as many clusters as classes, the best of ten starts."""
    return KMeans(len(np.unique(labels)), n_init=10, random_state=protocol.seed).fit_predict(test)


def _fewest(labels: np.ndarray) -> int:
    """The labels of the rarest class."""
    return int(np.unique(labels, return_counts=True)[1].min())


PROBES = {
    "knn": Probe("kNN", {CLASSIFICATION: OF_CLASSES, MULTI_LABEL: (MAP,), REGRESSION: (R2, MAE, RMSE)}, _knn),
    "linear": Probe("linear", {CLASSIFICATION: OF_CLASSES, MULTI_LABEL: (MAP,)}, _linear, few=True),
    "svm": Probe("linear SVM", {CLASSIFICATION: OF_CLASSES}, _svm, few=True),
    "rbf-svm": Probe("RBF SVM", {CLASSIFICATION: OF_CLASSES}, _rbf_svm, few=True, scaled=False),
    "ridge": Probe("ridge", {CLASSIFICATION: OF_CLASSES, REGRESSION: (R2, MAE, RMSE)}, _ridge, few=True),
    "kmeans": Probe("k-means", {CLASSIFICATION: (NMI, ARI)}, _clusters),
}
"""All probes by name. ``kmeans`` uses no label, so it clusters all samples and nothing is held out."""
DEFAULTS = {CLASSIFICATION: ("knn", "linear"), MULTI_LABEL: ("knn", "linear"), REGRESSION: ("ridge",)}
