"""What was answered for each test label, as a table that is written whole or not at all."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from unmask.tools.features.labels import Task
from unmask.tools.finetune.model import Answers
from unmask.tools.finetune.objective import Objective


class Predictions:
    """``predictions.csv``: what each trial answered for each test label.

    Columns ``encoder``, ``labels_per_class`` (empty: all), ``group``, ``seed``, ``index`` (of the sample in
    ``probe_test``; with groups, in ``probe_train`` followed by ``probe_test``; of a whole, its first piece), ``place``
    (of the token, where labels are per token), ``label``, ``prediction``; ``label_0``, ... where a label has several
    numbers. A context manager; the file is there once all trials are done.

    Args:
        path: the file.
        task: of the labels.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self.path, self.task = path, task
        self.part = path.with_name(path.name + ".part")
        self._begun = False

    def __enter__(self) -> Predictions:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.part.open("w", newline="")
        self._writer = csv.writer(self._file)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if kind is None:
            os.replace(self.part, self.path)
        else:
            self.part.unlink(missing_ok=True)

    def add(
        self, encoder: str, number: int | float | None, group: Any, seed: int, answers: Answers, objective: Objective
    ) -> None:
        """The rows of one trial."""
        given, answered = answers.label, objective.answer(answers.outputs)
        if not self._begun:
            keys = [
                "encoder",
                "labels_per_class",
                "group",
                "seed",
                "index",
                *(["place"] if self.task.per_token else []),
            ]
            self._writer.writerow([*keys, *_names("label", given), *_names("prediction", answered)])
            self._begun = True
        places = answers.place.tolist()
        for i, (index, label, prediction) in enumerate(
            zip(answers.sample.tolist(), _plain(given), _plain(answered), strict=True)
        ):
            place = [places[i]] if self.task.per_token else []
            self._writer.writerow([encoder, number, group, seed, index, *place, *label, *prediction])


def _names(name: str, values: Tensor) -> list[str]:
    return [name] if values.ndim == 1 else [f"{name}_{c}" for c in range(values.shape[1])]


def _plain(values: Tensor) -> list[list[int | str]]:
    rows = (values[:, None] if values.ndim == 1 else values).tolist()
    return [[f"{number:.6g}" if isinstance(number, float) else number for number in row] for row in rows]
