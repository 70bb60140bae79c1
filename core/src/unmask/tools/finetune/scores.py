"""Scores of fine-tuning by task, over all rows of a data set: what torchmetrics has, of labels that are known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import functional as M

from unmask.tools.features.labels import IGNORED

TOP = 5
"""Answers among which a class counts as found, where there are more classes."""
OF_CLASSES = ("accuracy", "balanced accuracy", "macro F1")
OF_MANY = (*OF_CLASSES, f"top-{TOP} accuracy")
OF_SEVERAL = ("mAP", "AUROC", "micro F1", "macro F1")
OF_NUMBERS = ("R2", "MAE", "RMSE", "Spearman")
MOST_NUMBERS = 20
"""Numbers of a label that are scored one by one, too."""
SHARES = {*OF_MANY, *OF_SEVERAL}
"""In [0, 1], shown in percent."""


def is_error(name: str) -> bool:
    """Whether less is better."""
    return name == "loss" or name.split(" of ")[0] in ("MAE", "RMSE")


def names_of_numbers(count: int) -> tuple[str, ...]:
    """Names of the scores of labels with so many numbers: of their means, then of each number, unless they are many."""
    each = range(count) if 1 < count <= MOST_NUMBERS else ()
    return (*OF_NUMBERS, *(f"{name} of label_{number}" for number in each for name in OF_NUMBERS))


def of_classes(outputs: Tensor, label: Tensor) -> dict[str, float]:
    """`OF_CLASSES`, or `OF_MANY` with more than `TOP` classes.

    Balanced accuracy is the mean recall of classes that are among the labels, macro F1 the mean of classes that are
    among labels or answers.

    Args:
        outputs: logits ``[n, C]``.
        label: class ids ``[n]``, all known.
    """
    num, answer = outputs.shape[1], outputs.argmax(-1)
    recall = M.classification.multiclass_recall(answer, label, num, average="none")
    found = [
        M.classification.multiclass_accuracy(answer, label, num, average="micro"),
        recall[label.unique()].mean(),
        M.classification.multiclass_f1_score(answer, label, num, average="macro"),
    ]
    if num <= TOP:
        return dict(zip(OF_CLASSES, (one.item() for one in found), strict=True))
    found.append(M.classification.multiclass_accuracy(outputs, label, num, average="micro", top_k=TOP))
    return dict(zip(OF_MANY, (one.item() for one in found), strict=True))


def of_several(outputs: Tensor, label: Tensor) -> dict[str, float]:
    """`OF_SEVERAL`: mean average precision, mean area under the ROC curve, F1 of classes with a probability above 0.5.

    Means over classes are over those that have a known positive label, and not a number where none has. AUROC is over
    those that have a known negative one, too, and missing where none has.

    Args:
        outputs: logits ``[n, C]``.
        label: 0, 1 or `IGNORED`, ``[n, C]``.
    """
    shares = outputs.double().sigmoid()
    each = [(shares[:, c], label[:, c]) for c in (label == 1).any(0).nonzero().flatten().tolist()]
    precisions = [M.classification.binary_average_precision(*own, ignore_index=IGNORED).item() for own in each]
    f1s = [M.classification.binary_f1_score(*own, ignore_index=IGNORED).item() for own in each]
    areas = [
        M.classification.binary_auroc(*own, ignore_index=IGNORED).item() for own in each if bool((own[1] == 0).any())
    ]
    micro = M.classification.binary_f1_score(shares.flatten(), label.flatten(), ignore_index=IGNORED).item()
    found = dict(zip(OF_SEVERAL, (_mean(precisions), _mean(areas), micro, _mean(f1s)), strict=True))
    return found if areas else {name: number for name, number in found.items() if name != "AUROC"}


def of_numbers(answer: Tensor, label: Tensor) -> dict[str, float]:
    """`OF_NUMBERS` (errors in the labels' units), as means over the numbers of a label, and those of each number.

    R2 and Spearman's correlation of ranks leave out numbers that are the same in all labels; their means are NaN
    where all are. Of a single number, what cannot be told is missing.

    Args:
        answer: ``[n, C]``.
        label: ``[n, C]``; NaN: unknown.
    """
    answer, label = answer.double(), label.double()
    known = label.isfinite()
    each = [_of_number(answer[own, c], label[own, c]) for c, own in enumerate(known.T)]
    scores = {name: _mean([one[name] for one in each if name in one]) for name in OF_NUMBERS}
    for name in names_of_numbers(len(each))[len(OF_NUMBERS) :]:
        measure, _, number = name.partition(" of label_")
        if measure in each[int(number)]:
            scores[name] = each[int(number)][measure]
    return scores


def _of_number(answer: Tensor, label: Tensor) -> dict[str, float]:
    if not len(label):
        return {}
    found = {"MAE": M.mean_absolute_error(answer, label), "RMSE": M.mean_squared_error(answer, label, squared=False)}
    if len(label) > 1 and bool(label.var() > 0):
        found |= {"R2": M.r2_score(answer, label), "Spearman": M.spearman_corrcoef(answer, label)}
    return {name: torch.as_tensor(number).item() for name, number in found.items()}


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else math.nan
