"""What a probe is fitted on and scored on: all labels or a few, one split, folds, or one group left out at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from unmask.support.checks import at_least
from unmask.tools.features.labels import CLASSIFICATION

FEW = (5, 10, 20)
"""Labels per class, where the data has as many."""


@dataclass(frozen=True)
class Protocol:
    """Settings that all columns share.

    Args:
        probes: names of `unmask.tools.probe.fits.PROBES`; None: ``knn`` and ``linear``, for regression ``ridge``.
        labels_per_class: numbers of labels per class to draw, each at least 1; None: 5, 10 and 20 as far as the
            rarest class has so many, none where ``num_folds`` is given.
        num_draws: draws of each number, at least 1.
        seed: of the draws and of the splits that choose the regularisation.
        max_labels: labels that a probe other than kNN is fitted on at most, drawn once; None: all.
        max_stored: samples among which kNN looks for neighbours at most, drawn once; None: all.
        num_neighbors: k of kNN, at least 1.
        temperature: of kNN's weights ``exp(cosine / temperature)``, above 0.
        num_folds: cross-validate over fitting and scoring samples together, at least 2, the same share of
            each class in all (shuffled by seed 0, as published protocols are); None: the split of the data.

    Raises:
        ValueError: a number outside its range.
    """

    probes: Sequence[str] | None = None
    labels_per_class: Sequence[int] | None = None
    num_draws: int = 10
    seed: int = 0
    max_labels: int | None = None
    max_stored: int | None = None
    num_neighbors: int = 20
    temperature: float = 0.07
    num_folds: int | None = None

    def __post_init__(self) -> None:
        at_least(1, num_draws=self.num_draws, num_neighbors=self.num_neighbors, max_stored=self.max_stored)
        at_least(2, max_labels=self.max_labels, num_folds=self.num_folds)
        for number in self.labels_per_class or ():
            at_least(1, labels_per_class=number)
        if not self.temperature > 0:
            raise ValueError(f"`temperature` must be above 0, but is {self.temperature:g}.")


class Part(NamedTuple):
    """Rows of all samples, those to fit on before those to score on: ``fit`` ``[n]`` and ``score`` ``[m]`` int64."""

    name: str
    fit: np.ndarray
    score: np.ndarray


def parts_of(
    protocol: Protocol, labels: np.ndarray, num_train: int, kind: str, groups: np.ndarray | None = None
) -> list[Part]:
    """The split of the data, or folds, or each group in turn with all others to fit on.

    Args:
        protocol: with ``num_folds`` or without.
        labels: of all samples, those to fit on first.
        num_train: how many of them are to be fitted on, where neither folds nor groups are asked for.
        kind: of task.
        groups: what each sample belongs to, to leave one group out at a time.

    Raises:
        ValueError: folds and groups, a single group, more folds than labels of a class, or nothing to score on.
    """
    everything = np.arange(len(labels))
    if groups is not None:
        if protocol.num_folds is not None:
            raise ValueError(
                f"`num_folds` must be left out when groups are left out in turn, but is {protocol.num_folds}."
            )
        names = np.unique(groups)
        if len(names) < 2:
            raise ValueError(f"There must be at least 2 groups to leave one out, but there are {len(names)}.")
        parts = [Part(str(name), np.flatnonzero(groups != name), np.flatnonzero(groups == name)) for name in names]
    elif protocol.num_folds is not None:
        most = len(labels) if kind != CLASSIFICATION else int(np.unique(labels, return_counts=True)[1].min())
        if protocol.num_folds > most:
            what = "samples" if kind != CLASSIFICATION else "labels of the rarest class"
            raise ValueError(f"`num_folds` must be at most {most}, the {what}, but is {protocol.num_folds}.")
        folds = (StratifiedKFold if kind == CLASSIFICATION else KFold)(protocol.num_folds, shuffle=True, random_state=0)
        split = folds.split(everything, labels)
        parts = [Part(str(number), fit, held) for number, (fit, held) in enumerate(split)]
    else:
        parts = [Part("", everything[:num_train], everything[num_train:])]
    if kind != CLASSIFICATION and any(len(part.score) < 2 for part in parts):
        raise ValueError("There must be at least 2 samples to score on, but there are fewer.")
    if any(not len(part.score) or not len(part.fit) for part in parts):
        raise ValueError("There must be samples to fit on and samples to score on, but one of the two is empty.")
    return parts


def few_labels(protocol: Protocol, labels: np.ndarray, parts: Sequence[Part]) -> tuple[int, ...]:
    """The numbers of labels per class to draw.

    Raises:
        ValueError: a part to fit on has fewer labels of a class than ``labels_per_class`` asks for, or one class only.
    """
    classes = np.unique(labels)
    most, rare = len(labels), classes[0]
    for part in parts:
        own, counts = np.unique(labels[part.fit], return_counts=True)
        if len(own) < 2:
            raise ValueError(f"Probes need labels of at least 2 classes to fit on, but there are {len(own)}.")
        if counts.min() < most:
            most, rare = int(counts.min()), own[counts.argmin()]
    if protocol.labels_per_class is None:
        return tuple(number for number in FEW if number <= most) if protocol.num_folds is None else ()
    if max(protocol.labels_per_class, default=0) > most:
        raise ValueError(
            f"`labels_per_class` must be at most {most}, the labels of class {rare}, "
            f"but is {max(protocol.labels_per_class)}."
        )
    return tuple(protocol.labels_per_class)


def draw(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """``per_class`` samples of each class; of one generator state, fewer are a part of more."""
    order = rng.permutation(len(labels))
    return np.concatenate([order[labels[order] == label][:per_class] for label in np.unique(labels)])


def capped(num_rows: int, most: int | None, seed: int) -> np.ndarray:
    """``most`` of the rows, drawn once, in order; all when there are no more."""
    if most is None or num_rows <= most:
        return np.arange(num_rows)
    return np.sort(np.random.default_rng((seed, 0)).permutation(num_rows)[:most])
