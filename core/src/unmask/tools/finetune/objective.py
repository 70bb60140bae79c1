"""What labels ask of a head: targets, loss, answers and scores, of rows that are samples or tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.data import numbers_of
from unmask.support.nearest import nearest, quoted
from unmask.tools.features.labels import CLASSIFICATION, IGNORED, MULTI_LABEL, REGRESSION, Task, values_of
from unmask.tools.finetune.scores import (
    OF_CLASSES,
    OF_MANY,
    OF_SEVERAL,
    TOP,
    is_error,
    names_of_numbers,
    of_classes,
    of_numbers,
    of_several,
)
from unmask.tools.finetune.settings import Settings
from unmask.tools.wholes import averaged


class Objective(nn.Module, ABC):
    """One kind of labels.

    Args:
        num_outputs: C, what the head answers with.
        classes: the words that class ids stand for; empty: ids are all there is.
    """

    names: tuple[str, ...]
    """Of the scores, the most telling first."""
    chooses: str
    """What the best epoch is chosen by: a score, the best (of equal ones, that of least loss), or ``loss``."""

    def __init__(self, num_outputs: int, classes: Sequence[str] = ()) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.classes = tuple(classes)

    @property
    def higher_is_better(self) -> tuple[bool, ...]:
        """Of each score."""
        return tuple(not is_error(name) for name in self.names)

    @property
    def falls(self) -> bool:
        """Whether less is better of what the best epoch is chosen by."""
        return is_error(self.chooses)

    def chosen_by(self, name: str) -> None:
        """Choose the best epoch by a score or by ``loss``; spaces of its name may be underscores.

        Raises:
            ValueError: another name.
        """
        known = {_key(one): one for one in (*self.names, "loss")}
        if _key(name) not in known:
            near = quoted(nearest(_key(name), known) or known)
            raise ValueError(f"`monitor` must be one of {quoted(known)}, but is {name!r}; nearest: {near}.")
        self.chooses = known[_key(name)]

    def given(self, label: Tensor) -> Tensor:
        """Labels of a batch in the units of `answer`."""
        return label

    @abstractmethod
    def target(self, label: Tensor) -> tuple[Tensor, Tensor]:
        """Labels ``[n]`` or ``[n, C]`` as targets ``[n, C]``, and which are known (``[n]`` or ``[n, C]`` bool)."""

    @abstractmethod
    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        """One number per known entry, shaped as ``known`` of `target`."""

    @abstractmethod
    def answer(self, outputs: Tensor) -> Tensor:
        """Outputs ``[..., C]`` as a user wants them."""

    def soft(self, outputs: Tensor) -> Tensor:
        """What outputs ``[n, C]`` say as a target would: probabilities; of regression, standardised numbers."""
        return self.shares(outputs)

    def distilled(self, outputs: Tensor, target: Tensor) -> Tensor:
        """How far outputs are from `soft` ones of another pass, shaped as `losses`."""
        return self.losses(outputs, target)

    def shares(self, outputs: Tensor) -> Tensor:
        """The probability of each class ``[..., C]``; of regression, each number in the labels' own units."""
        return self.answer(outputs)

    def told(self, shares: Tensor) -> Tensor:
        """What another model answers ``[n, C]``, as `shares` has it, as a target."""
        return shares

    @abstractmethod
    def scores(self, outputs: Tensor, label: Tensor) -> dict[str, float]:
        """By name, over all of a data set's rows: outputs ``[n, C]``, labels ``[n]`` or ``[n, C]``."""

    @abstractmethod
    def averaged(self, outputs: Tensor, whole: np.ndarray) -> Tensor:
        """Outputs ``[k, C]`` of wholes, whose `shares` are the means of those of their pieces ``[n, C]``.

        Args:
            outputs: of pieces.
            whole: the number of each piece's whole ``[n]``.
        """

    def loss(self, outputs: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """The mean over known entries; 0 where there are none."""
        return self.losses(outputs, target).where(known, 0).sum() / known.sum().clamp(min=1)


class Classification(Objective):
    """Cross-entropy with label smoothing; answers are class ids, scores those of `of_classes`.

    Args:
        num_outputs: C.
        label_smoothing: in [0, 1).
        classes: as `Objective` has them.
        weight: of the loss of each class ``[C]``; None: 1.
        gamma: of the focal loss, ``-(1 - p) ** gamma * log(p)`` for the probability p of the class, at least 0.
    """

    names: tuple[str, ...] = OF_CLASSES
    chooses = "accuracy"

    weight: Tensor | None

    def __init__(
        self,
        num_outputs: int,
        label_smoothing: float = 0.0,
        classes: Sequence[str] = (),
        weight: Tensor | None = None,
        gamma: float = 0.0,
    ) -> None:
        super().__init__(num_outputs, classes)
        self.label_smoothing, self.gamma = label_smoothing, gamma
        if num_outputs > TOP:
            self.names = OF_MANY
        self.register_buffer("weight", weight, persistent=False)  # of training alone

    def target(self, label: Tensor) -> tuple[Tensor, Tensor]:
        label = _whole(label)
        known = label != IGNORED
        return F.one_hot(label.where(known, 0), self.num_outputs).float(), known

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        if not self.gamma:
            smoothing = self.label_smoothing
            return F.cross_entropy(outputs, target, self.weight, reduction="none", label_smoothing=smoothing)
        target = target * (1 - self.label_smoothing) + self.label_smoothing / self.num_outputs
        target = target if self.weight is None else target * self.weight
        log_share = outputs.log_softmax(-1)
        return -(target * (1 - log_share.exp()) ** self.gamma * log_share).sum(-1)

    def distilled(self, outputs: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(outputs, target, reduction="none")  # nothing is smoothed twice

    def answer(self, outputs: Tensor) -> Tensor:
        return outputs.argmax(-1)

    def shares(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(-1)

    def averaged(self, outputs: Tensor, whole: np.ndarray) -> Tensor:
        shares = averaged(outputs.double().softmax(-1), whole)
        return shares.clamp(min=torch.finfo(shares.dtype).tiny).log().to(outputs.dtype)

    def scores(self, outputs: Tensor, label: Tensor) -> dict[str, float]:
        label = _whole(label)
        known = label != IGNORED
        return of_classes(outputs[known], label[known])


class MultiLabel(Objective):
    """Binary cross-entropy per class; answers are probabilities, scores those of `of_several`.

    Args:
        num_outputs: C.
        classes: as `Objective` has them.
        weight: of the loss of a positive label of each class ``[C]``; None: 1.
        gamma: of the focal loss, as `Classification` has it, at least 0.
    """

    names: tuple[str, ...] = OF_SEVERAL
    chooses = "mAP"
    weight: Tensor | None

    def __init__(
        self, num_outputs: int, classes: Sequence[str] = (), weight: Tensor | None = None, gamma: float = 0.0
    ) -> None:
        super().__init__(num_outputs, classes)
        self.gamma = gamma
        self.register_buffer("weight", weight, persistent=False)  # of training alone

    def target(self, label: Tensor) -> tuple[Tensor, Tensor]:
        label = _whole(label)
        known = label != IGNORED
        return label.where(known, 0).float(), known

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(outputs, target, reduction="none", pos_weight=self.weight)
        if not self.gamma:
            return losses
        share = outputs.sigmoid()
        return losses * (target * (1 - share) + (1 - target) * share) ** self.gamma

    def distilled(self, outputs: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, target, reduction="none")

    def answer(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid()

    def averaged(self, outputs: Tensor, whole: np.ndarray) -> Tensor:
        return averaged(outputs.double().sigmoid(), whole).logit(eps=1e-12).to(outputs.dtype)

    def scores(self, outputs: Tensor, label: Tensor) -> dict[str, float]:
        return of_several(outputs, _whole(label))


class Regression(Objective):
    """Squared or absolute error of standardised labels; answers are in the labels' own units, scores those of
    `of_numbers`.

    Args:
        mean: of each number over the training labels ``[C]``.
        std: its standard deviation, above 0.
        loss: ``mse`` or ``l1``.
        flat: labels are one number each, without a side of its own.
        classes: what class ids are called where labels are those: numbers.
    """

    chooses = "loss"
    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Tensor, std: Tensor, loss: str = "mse", flat: bool = True, classes: Sequence[str] = ()
    ) -> None:
        super().__init__(len(mean), classes)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.kind, self.flat, self.numbers = loss, flat, numbers_of(classes)
        self.names = names_of_numbers(len(mean))

    def given(self, label: Tensor) -> Tensor:
        are_ids = self.numbers is not None and self.flat and not label.is_floating_point()
        return values_of(label, self.numbers) if are_ids else label  # type: ignore[arg-type]

    def target(self, label: Tensor) -> tuple[Tensor, Tensor]:
        label = self._wide(label)
        known = label.isfinite()
        return ((label - self.mean) / self.std).where(known, 0), known

    def losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        return (F.l1_loss if self.kind == "l1" else F.mse_loss)(outputs, target, reduction="none")

    def soft(self, outputs: Tensor) -> Tensor:
        return outputs

    def told(self, shares: Tensor) -> Tensor:
        return self.target(shares)[0]

    def answer(self, outputs: Tensor) -> Tensor:
        answer = self.shares(outputs)
        return answer.squeeze(-1) if self.flat else answer

    def shares(self, outputs: Tensor) -> Tensor:
        return outputs * self.std + self.mean

    def averaged(self, outputs: Tensor, whole: np.ndarray) -> Tensor:
        return averaged(outputs, whole)

    def scores(self, outputs: Tensor, label: Tensor) -> dict[str, float]:
        return of_numbers(self.shares(outputs.double()), self._wide(label))

    def _wide(self, label: Tensor) -> Tensor:
        """``[n, C]``, NaN where there is no label."""
        label = self.given(label)
        label = label[:, None] if label.ndim == 1 else label
        return label if label.is_floating_point() else label.float().masked_fill(label == IGNORED, float("nan"))


def _key(name: str) -> str:
    return name.replace(" ", "_").lower()


def _whole(label: Tensor) -> Tensor:
    """Class ids, or 0 and 1, as int64; `IGNORED` where there is no label."""
    return label.nan_to_num(nan=IGNORED).long()


def _by_rarity(label: Tensor, num_classes: int) -> Tensor:
    """Weights ``[C]`` that make the losses of all classes that are there add up to as much, 1 for a mean label."""
    counts = torch.bincount(_whole(label), minlength=num_classes)
    return len(label) / (counts.clamp(min=1) * (counts > 0).sum())


def objective_of(
    task: Task, label: Tensor, settings: Settings, num_classes: int = 0, classes: Sequence[str] = ()
) -> Objective:
    """The objective for a task, fitted to training labels.

    Args:
        task: what is asked.
        label: all training labels, one of each whole, ``[n]`` or ``[n, C]``.
        settings: label smoothing, the loss of regression, what the best epoch is chosen by.
        num_classes: at least so many.
        classes: the words that class ids stand for; empty: ids are all there is.

    Raises:
        ValueError: a loss of regression for labels that are classes, what is of classes for others, or an unknown score
            to choose by.
    """
    made = _made(task, label, settings, num_classes, classes)
    if settings.monitor is not None:
        made.chosen_by(settings.monitor)
    return made


def _made(task: Task, label: Tensor, settings: Settings, num_classes: int, classes: Sequence[str]) -> Objective:
    if task.kind != REGRESSION and settings.loss != "mse":
        raise ValueError(f"`loss` is of regression and must be left out for {task.kind}, but is {settings.loss!r}.")
    of_classes = {"class_weights": settings.class_weights != "none", "focal_gamma": settings.focal_gamma > 0}
    for name, asked in of_classes.items():
        if asked and task.kind == REGRESSION:
            raise ValueError(f"`{name}` is of classes and must be left out for regression.")
    if settings.sampling != "uniform" and (task.kind != CLASSIFICATION or task.per_token):
        kind = f"{task.kind}{' per token' if task.per_token else ''}"
        raise ValueError(f"`sampling` must be 'uniform' for {kind}, but is {settings.sampling!r}.")
    weighed, gamma = settings.class_weights != "none", settings.focal_gamma
    if task.kind == CLASSIFICATION:
        num_outputs = max(num_classes, int(label.max()) + 1)
        weight = _by_rarity(label, num_outputs) if weighed else None
        return Classification(num_outputs, settings.label_smoothing, classes[:num_outputs], weight, gamma)
    if task.kind == MULTI_LABEL:
        weight = (label == 0).sum(0) / (label == 1).sum(0).clamp(min=1) if weighed else None
        return MultiLabel(label.shape[1], classes if len(classes) == label.shape[1] else (), weight, gamma)
    wide = (label[:, None] if label.ndim == 1 else label).double()  # [n, C]
    mean = wide.nanmean(0)
    std = (wide - mean).square().nanmean(0).sqrt()
    return Regression(mean.float(), std.where(std > 0, 1).float(), settings.loss, label.ndim == 1, classes)
