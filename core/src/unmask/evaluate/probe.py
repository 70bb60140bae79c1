"""Probes: how much of the labels simple classifiers find in frozen features, next to raw input.

k nearest neighbours as in DINO (Caron et al. 2021) and logistic regression, with all
labels and with a few per class. Every column gets the same draws and the same protocol.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, StratifiedShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from torch.utils.data import DataLoader

from unmask.data import MaskedDataModule
from unmask.evaluate.features import features, raw_features
from unmask.model import MaskedModel

RAW, UNTRAINED, PRETRAINED = "raw input", "untrained encoder", "pretrained encoder"
NUM_NEIGHBORS, TEMPERATURE = 20, 0.07
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
"""Inverse strengths of regularisation to choose from."""
LARGE = 10_000
"""From so many labels on, one split of them chooses the strength instead of five."""


@dataclass(frozen=True)
class Row:
    """Accuracies of one probe.

    Args:
        name: the probe.
        scores: accuracy in [0, 1] of each draw of labels, by column; one number with all labels.
    """

    name: str
    scores: dict[str, list[float]]

    def mean(self, column: str) -> float:
        """The mean accuracy over draws."""
        return float(np.mean(self.scores[column]))

    def error(self, column: str) -> float | None:
        """Its standard error over draws; None for a single one."""
        return _standard_error(self.scores[column])

    def gain(self, column: str, over: str) -> tuple[float, float | None]:
        """How much ``column`` is above ``over``, draw by draw: mean and standard error."""
        differences = np.subtract(self.scores[column], self.scores[over])
        return float(differences.mean()), _standard_error(differences)


@dataclass(frozen=True)
class ProbeResult:
    """All rows, and what they were measured on."""

    rows: list[Row]
    columns: list[str]
    num_train: int
    num_test: int
    num_classes: int
    widths: dict[str, int]
    num_draws: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and strings, with means, standard errors and gains worked out."""
        last = self.columns[-1]
        return asdict(self) | {
            "rows": [
                asdict(row)
                | {
                    "mean": {column: row.mean(column) for column in self.columns},
                    "standard_error": {column: row.error(column) for column in self.columns},
                    "gain": {column: row.gain(last, column) for column in self.columns[:-1]},
                }
                for row in self.rows
            ]
        }


def probe(
    model: MaskedModel,
    untrained: MaskedModel,
    datamodule: MaskedDataModule,
    *,
    labels_per_class: Sequence[int] = (5, 10, 20),
    num_draws: int = 10,
    pool: str = "mean",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> ProbeResult:
    """Three columns: raw input, ``untrained``'s encoder and ``model``'s encoder.

    Args:
        model: a trained model; its `embedder` is measured.
        untrained: the same model as it was initialised, such as a deep copy from before training.
        datamodule: with labels in its probe sets.
        labels_per_class: numbers of labels per class to draw, each at least 1.
        num_draws: draws of each number, at least 1.
        pool: ``mean``, ``max``, ``mean+max`` or ``cls``.
        seed: of the draws and of the splits that choose the regularisation.
        device: where features are computed.

    Raises:
        ValueError: data without labels, or as `probe_columns`.
    """
    splits = datamodule.splits
    sets = (splits.probe_train, splits.probe_test)
    columns: dict[str, list[np.ndarray]] = {RAW: [], UNTRAINED: [], PRETRAINED: []}
    labels = []
    for name, dataset in zip(("probe_train", "probe_test"), sets, strict=True):
        if dataset is None:
            raise ValueError(f"`{name}` of the data must be given to probe, with labels, but is None.")
        loader = DataLoader(dataset, batch_size=datamodule.val_batch_size)
        raw, label = raw_features(model.tokenizer, loader, device)
        if label is None:
            raise ValueError(f"`{name}` of the data must have a `label` in every sample, but has none.")
        labels.append(label)
        columns[RAW].append(raw)
        columns[UNTRAINED].append(features(untrained.embedder, untrained.tokenizer, loader, pool, device)[0])
        columns[PRETRAINED].append(features(model.embedder, model.tokenizer, loader, pool, device)[0])
    pairs = {name: (train, test) for name, (train, test) in columns.items()}
    return probe_columns(pairs, labels[0], labels[1], labels_per_class=labels_per_class, num_draws=num_draws, seed=seed)


def probe_columns(
    columns: Mapping[str, tuple[np.ndarray, np.ndarray]],
    train_labels: np.ndarray,
    test_labels: np.ndarray,
    *,
    labels_per_class: Sequence[int] = (5, 10, 20),
    num_draws: int = 10,
    seed: int = 0,
) -> ProbeResult:
    """Probes any features: by column, a matrix to fit on ``[n, D]`` and one to score on ``[m, D]``.

    Features are centred and divided by one number, the root of their mean variance over the fitted matrix. Not
    feature by feature: that magnifies dim pixels at an image's border and would cost raw digits
    two points of accuracy, in favour of the encoder.

    Raises:
        ValueError: a count below 1, fewer than two classes, more labels per class asked for than
            there are, or features that are not finite.
    """
    for name, least in (("num_draws", num_draws), *(("labels_per_class", n) for n in labels_per_class)):
        if least < 1:
            raise ValueError(f"`{name}` must be at least 1, but is {least}.")
    classes, counts = np.unique(train_labels, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"Probes need labels of at least 2 classes, but there are {len(classes)}.")
    if max(labels_per_class, default=0) > counts.min():
        rare = classes[counts.argmin()]
        raise ValueError(
            f"`labels_per_class` must be at most {counts.min()}, the labels of class {rare}, "
            f"but is {max(labels_per_class)}."
        )
    for name, pair in columns.items():
        if not all(np.isfinite(matrix).all() for matrix in pair):
            raise ValueError(f"The features of `{name}` must be finite, but hold NaN or infinity.")

    everything = np.arange(len(train_labels))
    draws = {
        n: [_draw(train_labels, n, np.random.default_rng((seed, draw))) for draw in range(num_draws)]
        for n in labels_per_class
    }
    neighbors: dict[str, list[float]] = {}
    linear: dict[int | None, dict[str, list[float]]] = {n: {} for n in (*labels_per_class, None)}
    for name, pair in columns.items():
        train, test = _scaled(*pair)
        neighbors[name] = [_knn(train, train_labels, test, test_labels)]
        for n in linear:
            linear[n][name] = [
                _linear(train[chosen], train_labels[chosen], test, test_labels, seed)
                for chosen in (draws[n] if n is not None else [everything])
            ]
    rows = [Row("kNN, all labels", neighbors), Row("linear, all labels", linear.pop(None))]
    rows += [Row(f"linear, {n} per class", scores) for n, scores in linear.items()]
    widths = {name: train.shape[1] for name, (train, _) in columns.items()}
    return ProbeResult(rows, list(columns), len(train_labels), len(test_labels), len(classes), widths, num_draws, seed)


def _draw(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """``per_class`` samples of each class; of one generator state, fewer are a part of more."""
    order = rng.permutation(len(labels))
    return np.concatenate([order[labels[order] == label][:per_class] for label in np.unique(labels)])


def _scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    center = train.mean(0, dtype=np.float64)
    std = math.sqrt(train.var(0, dtype=np.float64).mean()) or 1.0
    return ((train - center) / std).astype(np.float32), ((test - center) / std).astype(np.float32)


def _knn(train: np.ndarray, labels: np.ndarray, test: np.ndarray, answers: np.ndarray) -> float:
    """Neighbours by cosine, weighted by ``exp(cosine / 0.07)``."""
    classifier = KNeighborsClassifier(
        min(NUM_NEIGHBORS, len(train)),
        metric="cosine",
        weights=lambda distance: np.exp((1 - distance) / TEMPERATURE),
    )
    return float(classifier.fit(train, labels).score(test, answers))


def _linear(train: np.ndarray, labels: np.ndarray, test: np.ndarray, answers: np.ndarray, seed: int) -> float:
    """Logistic regression; its strength is chosen by cross-validation on the given labels alone."""
    fewest = int(np.unique(labels, return_counts=True)[1].min())
    classifier: Any = LogisticRegression(max_iter=1000)
    if fewest > 1:
        folds: Any = StratifiedKFold(min(5, fewest), shuffle=True, random_state=seed)
        if len(train) >= LARGE:
            folds = StratifiedShuffleSplit(1, test_size=0.2, random_state=seed)
        # By log-likelihood: accuracy on a handful of labels ties, and ties would go to the smallest C.
        classifier = GridSearchCV(classifier, {"C": STRENGTHS}, cv=folds, scoring="neg_log_loss")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of strengths that are not chosen, mostly
        return float(np.mean(classifier.fit(train, labels).predict(test) == answers))


def _standard_error(scores: Sequence[float] | np.ndarray) -> float | None:
    return float(np.std(scores, ddof=1) / math.sqrt(len(scores))) if len(scores) > 1 else None
