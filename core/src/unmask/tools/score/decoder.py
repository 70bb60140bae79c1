"""A linear decoder from codes to hidden values, cross-fitted: each sample is scored by a decoder that never saw it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit

NUM_FOLDS = 5
FEW_SAMPLES = 2 * NUM_FOLDS
"""With fewer samples than this, folds are of places instead of samples."""
ENOUGH_SAMPLES = 100
"""From so many samples on, each place has a decoder of its own, where all samples have the same places."""
ALPHAS = tuple(10.0 ** (power / 2) for power in range(-2, 9))
"""Strengths of the ridge regression to choose from: 0.1 to 10,000."""


def unexplained(
    rows: np.ndarray, row: np.ndarray, values: np.ndarray, samples: np.ndarray, places: np.ndarray | None
) -> list[float]:
    """Squared error over squared distance from the mean, one number per fold.

    Features are centred and divided by one number. A decoder for each place chooses its strength by leaving out
    one sample at a time; a decoder for all places by leaving out a fifth of the samples once.

    Args:
        rows: ``[r, F]`` features.
        row: ``[m]`` int64, which of them belongs to each answer.
        values: ``[m, V]`` answers.
        samples: ``[m]`` int64, whose answer it is.
        places: ``[m]`` int64, the place's number in its sample: each place gets a decoder, and its own mean;
            None: all places share them.

    Raises:
        ValueError: features that are not finite, or values that do not vary.
    """
    if not np.isfinite(rows).all():
        raise ValueError("Codes must be finite, but hold NaN or infinity.")
    num_samples = len(np.unique(samples))
    shared = np.zeros(len(samples), dtype=np.int64)
    found = []
    for held, rest in _folds(samples, num_samples):
        missed = total = 0.0
        for place in np.unique(shared if places is None else places):
            own = (shared if places is None else places) == place
            fit, test = np.flatnonzero(own & rest), np.flatnonzero(own & held)
            if not len(fit) or not len(test):  # a place that chance has hidden nowhere
                continue
            train = rows[row[fit]].astype(np.float64)  # small strengths need it
            center = train.mean(0)
            scale = math.sqrt(train.var(0).mean()) or 1.0
            decoder = RidgeCV(ALPHAS) if places is not None else _searched(samples[fit], num_samples)
            decoder.fit((train - center) / scale, values[fit])
            predicted = decoder.predict((rows[row[test]] - center) / scale).reshape(values[test].shape)
            missed += float(np.square(predicted - values[test]).sum())
            total += float(np.square(values[fit].mean(0, dtype=np.float64) - values[test]).sum())
        if not total:
            raise ValueError("The values of hidden places must vary to be explained, but are the same everywhere.")
        found.append(missed / total)
    return found


def filled(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Whole samples as one row of visible values each, with the mean of the place where a sample hides it.

    Args:
        values: ``[n, N, V]``.
        seen: ``[n, N]`` bool.

    Returns:
        ``[n, F]`` float32: the rows themselves, or, where they are longer than there are samples, rotated onto the
        n directions that they span, from which ridge regression learns the same.
    """
    weight = seen[..., None].astype(np.float32)
    mean = (values * weight).sum(0) / weight.sum(0).clip(min=1)  # [N, V]
    rows = np.where(seen[..., None], values - mean, 0).reshape(len(values), -1).astype(np.float32)
    if rows.shape[1] <= len(rows):
        return rows
    spread, directions = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    return (directions * np.sqrt(spread.clip(min=0))).astype(np.float32)


def _folds(samples: np.ndarray, num_samples: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which answers are held out and which are fitted on, ``[m]`` bool each."""
    number = samples % NUM_FOLDS
    if num_samples < FEW_SAMPLES:
        number = np.random.default_rng(0).permutation(len(samples)) % NUM_FOLDS
    for fold in range(NUM_FOLDS):
        yield number == fold, number != fold


def _searched(samples: np.ndarray, num_samples: int) -> GridSearchCV:
    unit = samples if num_samples >= FEW_SAMPLES else np.arange(len(samples))
    split = GroupShuffleSplit(1, test_size=1 / NUM_FOLDS, random_state=0).split(unit, groups=unit)
    return GridSearchCV(Ridge(), {"alpha": ALPHAS[::2]}, cv=list(split), scoring="neg_mean_squared_error")
