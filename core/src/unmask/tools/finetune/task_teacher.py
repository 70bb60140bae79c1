"""Distillation in fine-tuning: answers of a fine-tuned teacher are learnt beside the labels (G2SD, Huang et al. 2023,
arXiv:2303.04424, its second stage; soft labels as in Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unmask.frozen import Frozen
from unmask.tools.features.labels import Task
from unmask.tools.finetune.objective import Objective


class TaskTeacher(nn.Module):
    """``L + weight * mean of D(o, p)``, p what the teacher answers about the same batch: shares of classes, or numbers.

    D is cross-entropy with p in the place of labels, of each class by itself where a sample has several, or the loss of
    regression. The teacher sees samples as the student does, augmented alike, by its own tokenizer. It is frozen, and
    no part of what is saved.

    Args:
        tuned: a fine-tuned model, such as `load` gives.

    Differs from the release in the temperature, which is 1, and in having no token of its own to learn by.
    """

    def __init__(self, tuned: Any) -> None:
        super().__init__()
        self.frozen = Frozen(tuned)

    def check(self, objective: Objective, task: Task) -> None:
        """Refuse a teacher of another task.

        Raises:
            ValueError: other kinds of labels, or other classes.
        """
        own: Any = self.frozen.module
        if (own.task.kind, own.task.per_token) != (task.kind, task.per_token):
            kinds = [f"{one.kind}{' per token' if one.per_token else ''}" for one in (task, own.task)]
            raise ValueError(f"`teacher` must be of {kinds[0]}, as these labels are, but is of {kinds[1]}.")
        if own.objective.num_outputs != objective.num_outputs:
            raise ValueError(
                f"`teacher` must give {objective.num_outputs} numbers, as these labels need, but gives "
                f"{own.objective.num_outputs}."
            )
        if own.objective.classes and objective.classes and own.objective.classes != objective.classes:
            raise ValueError(
                f"`teacher` must know the classes {', '.join(objective.classes)}, but knows "
                f"{', '.join(own.objective.classes)}."
            )

    def loss(self, objective: Objective, outputs: Tensor, batch: Any, rows: Any) -> Tensor:
        """The mean over rows of how far the student's outputs are from the teacher's answers.

        Args:
            objective: the student's.
            outputs: of the student ``[n, C]`` float32.
            batch: what both were given.
            rows: which of the teacher's answers these are: real tokens, or every sample.

        Raises:
            ValueError: the teacher cuts samples into another number of tokens, where labels are per token.
        """
        answers = self.frozen(batch)
        if isinstance(rows, Tensor) and answers.shape[: rows.ndim] != rows.shape:
            raise ValueError(
                f"`teacher` must give one answer per token {tuple(rows.shape)}, but gives {tuple(answers.shape)}."
            )
        own: Any = self.frozen.module
        with torch.no_grad():
            right = objective.told(own.objective.shares(answers[rows].float()))
        return objective.distilled(outputs, right).mean()
