"""Labels: what is to be told from features, of a whole sample or of each of its tokens, and whether a task suits them.

Data hands out class ids, whatever the classes are called. Where all of them are called by numbers, `numbers_of` gives
those back: regression on ids would be about the order of words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.data.labels import IGNORED, numbers_of
from unmask.structures import Tokens
from unmask.support.nearest import nearest, quoted

CLASSIFICATION, MULTI_LABEL, REGRESSION = KINDS = ("classification", "multi-label", "regression")


@dataclass(frozen=True)
class Task:
    """What labels ask for.

    Args:
        kind: ``classification`` (one class id), ``multi-label`` (0 or 1 per class) or ``regression``.
        per_token: whether each token has a label of its own.

    Raises:
        ValueError: another kind.
    """

    kind: str
    per_token: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            near = quoted(nearest(self.kind, KINDS) or KINDS)
            raise ValueError(f"`task` must be one of {quoted(KINDS)}, but is {self.kind!r}; nearest: {near}.")


def task_of(label: Tensor, tokens: Tokens) -> Task:
    """Read off the shape and type of ``batch["label"]``.

    Per sample ``[B]`` or ``[B, C]``; per token ``[B, N]`` or ``[B, N, C]``, packed ``[T]`` or
    ``[T, C]``. Floating point is regression; whole numbers are class ids, or, with a last side C, 0 or 1.

    Raises:
        ValueError: labels that are no tensor, or of another length than the batch.
    """
    if not isinstance(label, Tensor):
        raise ValueError(f"`label` must be a number or a tensor in each sample, but a batch of them is {label!r:.80}.")
    per_token = _per_token(label, tokens)
    sides = label.ndim - (2 if per_token and tokens.offsets is None else 1)
    if len(label) != (len(tokens.values) if per_token else tokens.num_samples) or sides not in (0, 1):
        raise ValueError(
            f"`label` must have one row per sample ({tokens.num_samples}) or token, but its shape is "
            f"{tuple(label.shape)}."
        )
    if label.is_floating_point():
        return Task(REGRESSION, per_token)
    return Task(MULTI_LABEL if sides else CLASSIFICATION, per_token)


def kind_for(label: Tensor, kind: str | None, classes: Sequence[str] = ()) -> str:
    """The kind of task to do, held against the labels: regression needs classes that are called by numbers, and takes
    those; classification needs whole numbers, or classes that several labels share.

    Args:
        label: all labels that are known, ``[n]`` or ``[n, C]``.
        kind: what was asked for; None: what suits them. Class ids are classes, unless the classes are called by
            numbers that are not whole and hardly any label has its class in common with another: then they are
            measured numbers, for regression.
        classes: the words that class ids stand for; empty: ids are all there is.

    Raises:
        ValueError: regression on classes that are no numbers; classes of numbers that are not whole.
    """
    are_ids = label.ndim == 1 and not label.is_floating_point()
    measured = are_ids and are_measured(label, classes)
    if kind is None:
        seen = REGRESSION if label.is_floating_point() else MULTI_LABEL if label.ndim > 1 else CLASSIFICATION
        return REGRESSION if measured else seen
    if kind == REGRESSION and are_ids and classes and numbers_of(classes) is None:
        word = next(word for word in classes if numbers_of([word]) is None)
        raise ValueError(
            f"`task` 'regression' needs labels that are numbers, but one is `{word}`; nearest: 'classification'."
        )
    if kind == CLASSIFICATION and measured:
        word = next(word for word in classes if not float(word).is_integer())
        raise ValueError(
            f"`task` 'classification' needs classes with several labels each, but {len(label):,} labels are "
            f"{len(label.unique()):,} different numbers, such as {word}; nearest: 'regression'."
        )
    return kind


def are_measured(label: Tensor, classes: Sequence[str]) -> bool:
    """Whether class ids ``[n]`` stand for measured numbers: some are not whole, and most labels differ."""
    numbers = numbers_of(classes)
    if numbers is None or all(number.is_integer() for number in numbers):
        return False
    return 2 * len(label.unique()) > len(label)


def taken_as(label: Tensor, kind: str, classes: Sequence[str] = ()) -> Tensor:
    """Labels ``[n]`` or ``[n, C]`` as a task takes them: regression on class ids takes the numbers they stand for."""
    numbers = numbers_of(classes)
    are_ids = label.ndim == 1 and not label.is_floating_point()
    return values_of(label, numbers) if kind == REGRESSION and are_ids and numbers is not None else label


def values_of(label: Tensor, numbers: Sequence[float]) -> Tensor:
    """The numbers that class ids stand for, in float64; NaN where there is no label.

    Args:
        label: ids, of any shape.
        numbers: of class 0, 1, 2, ..., see `numbers_of`.

    Raises:
        ValueError: an id that has no number.
    """
    kind = torch.float32 if label.device.type == "mps" else torch.float64  # which has no other
    worth, label = torch.tensor(numbers, dtype=kind, device=label.device), label.long()
    known = label != IGNORED
    if bool(((label < 0) | (label >= len(worth)))[known].any()):
        low, high = int(label[known].min()), int(label[known].max())
        raise ValueError(f"Class ids must be in [0, {len(worth) - 1}], one for each word, but lie in [{low}, {high}].")
    return worth[label.where(known, 0)].masked_fill(~known, float("nan"))


def real_tokens(tokens: Tokens) -> Tensor:
    """Which rows are no padding: ``[B, N]`` bool, packed ``[T]``; of parts one after the other, as `Mask.join`."""
    if tokens.parts is not None:
        return in_line({name: real_tokens(part) for name, part in tokens.parts.items()})
    if tokens.valid is not None:
        return tokens.valid
    shape = tokens.values.shape[: 1 if tokens.offsets is not None else 2]
    return torch.ones(shape, dtype=torch.bool, device=tokens.values.device)


def in_line(parts: Mapping[str, Tensor]) -> Tensor:
    """What is known of the tokens of each part, of all: ``[B, N]``, or ``[T]`` where a part is packed."""
    dense = all(part.ndim > 1 for part in parts.values())
    return torch.cat([part if dense else part.flatten() for part in parts.values()], dim=1 if dense else 0)


def _per_token(label: Tensor, tokens: Tokens) -> bool:
    if tokens.parts is not None:  # of no single part
        return False
    if tokens.offsets is not None:
        return len(label) == len(tokens.values) != tokens.num_samples
    return label.ndim > 1 and label.shape[:2] == tokens.values.shape[:2]
