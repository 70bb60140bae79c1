"""What fine-tuning measured: every trial, and a row per score with means, errors and paired gains."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SCRATCH, PRETRAINED = "from scratch", "pretrained"


@dataclass(frozen=True)
class Trial:
    """One training.

    Args:
        encoder: `SCRATCH` or `PRETRAINED`.
        labels_per_class: of the draw; None: all labels.
        group: the group left out and tested on; None: no groups.
        seed: of the split, the head, the order, augmentation, mixing and dropout.
        scores: on the test labels, by name, and ``loss``.
        val_scores: likewise on the held-out labels, at the best epoch; None: nothing was held out.
        best_epoch: counted from 0, whose weights are used.
        num_epochs: trained.
        num_steps: optimiser steps trained.
        num_train: labels trained on.
        num_val: labels held out.
        num_test: labels tested on.
        curve: of each validated epoch ``epoch``, ``step``, ``train/loss`` the held-out ``val/...``; None: not finite.
        seconds: of training and testing.
        checkpoint: the file of its weights in the run folder, or None.
    """

    encoder: str
    labels_per_class: int | None
    group: Any
    seed: int
    scores: dict[str, float]
    val_scores: dict[str, float | None] | None
    best_epoch: int
    num_epochs: int
    num_steps: int
    num_train: int
    num_val: int
    num_test: int
    curve: list[dict[str, float | None]]
    seconds: float
    checkpoint: str | None = None


@dataclass(frozen=True)
class Row:
    """One score under one number of labels.

    Args:
        name: of the score.
        labels_per_class: None: all labels.
        higher_is_better: whether it is.
        scores: one number per seed by encoder; with groups, one per group, averaged over seeds.
    """

    name: str
    labels_per_class: int | None
    higher_is_better: bool
    scores: dict[str, list[float]]

    def mean(self, encoder: str) -> float:
        """The mean score."""
        return float(np.mean(self.scores[encoder]))

    def error(self, encoder: str) -> float | None:
        """Its standard error; None for a single seed or group."""
        return _standard_error(self.scores[encoder])

    @property
    def gain(self) -> tuple[float, float | None] | None:
        """Pretrained minus from scratch, pair by pair: mean and standard error. None without both."""
        if len(self.scores) < 2:
            return None
        differences = np.subtract(self.scores[PRETRAINED], self.scores[SCRATCH])
        return float(differences.mean()), _standard_error(differences)


@dataclass(frozen=True)
class Result:
    """Everything that was measured and what with.

    Args:
        trials: in the order of training.
        encoders: the columns.
        names: of the scores.
        higher_is_better: of each.
        task: what the labels ask for, as plain words.
        settings: as plain numbers and words.
        seeds: of the trials.
        groups: the key that groups were made by, or None.
        num_parameters: trained ones of each encoder with its head.
        seconds: of everything.
    """

    trials: list[Trial]
    encoders: list[str]
    names: tuple[str, ...]
    higher_is_better: tuple[bool, ...]
    task: dict[str, Any]
    settings: dict[str, Any]
    seeds: list[int]
    groups: str | None
    num_parameters: int
    seconds: float

    @property
    def rows(self) -> list[Row]:
        """A row per score and number of labels."""
        numbers = list(dict.fromkeys(trial.labels_per_class for trial in self.trials))
        return [
            Row(name, number, higher, {encoder: self._each(name, number, encoder) for encoder in self.encoders})
            for number in numbers
            for name, higher in zip(self.names, self.higher_is_better, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and words for JSON: rows first, trials in full after them."""
        rows = [
            asdict(row)
            | {
                "mean": {encoder: row.mean(encoder) for encoder in self.encoders},
                "standard_error": {encoder: row.error(encoder) for encoder in self.encoders},
                "gain": row.gain,
            }
            for row in self.rows
        ]
        return {"rows": rows} | asdict(self)

    def _each(self, name: str, number: int | None, encoder: str) -> list[float]:
        """What the standard error is over: groups where there are any, else seeds."""
        units: dict[Any, list[float]] = {}
        for trial in self.trials:
            if trial.labels_per_class == number and trial.encoder == encoder:
                unit = trial.seed if self.groups is None else trial.group
                units.setdefault(unit, []).append(trial.scores[name])
        return [float(np.mean(scores)) for scores in units.values()]


def _standard_error(scores: Any) -> float | None:
    return float(np.std(scores, ddof=1) / math.sqrt(len(scores))) if len(scores) > 1 else None
