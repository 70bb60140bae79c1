"""Labelled data as a flat table of labels, so that drawing and holding out work alike for samples and for tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from unmask.data import MaskedDataModule, numbers_of
from unmask.parts import Tokenizer
from unmask.support.nearest import nearest, quoted
from unmask.tools.features.labels import (
    CLASSIFICATION,
    IGNORED,
    MULTI_LABEL,
    REGRESSION,
    Task,
    kind_for,
    real_tokens,
    taken_as,
    task_of,
)
from unmask.tools.features.samples import batches, owners, split_of
from unmask.tools.wholes import Wholes, firsts, shared

MANY = 20
"""Classes that are whole numbers; more may have been meant as numbers."""


@dataclass(frozen=True)
class Labelled:
    """Labels and where they are. Places without a label are left out.

    Args:
        dataset: samples with ``label`` and ``index``.
        task: what the labels ask for.
        value: ``[n]`` or ``[n, C]``.
        sample: ``[n]`` int64, each label's sample in ``dataset``.
        place: ``[n]`` int64, its place among the sample's tokens; zeros where labels are of samples.
        whole: ``[n]`` int64, the number of what it is of, see `Wholes`: the pieces of one whole have its label. Labels
            of tokens are each of a whole of its own.
        groups: of each sample in ``dataset``, or None.
        classes: the words that class ids stand for; empty: ids are all there is.
    """

    dataset: Dataset
    task: Task
    value: Tensor
    sample: np.ndarray
    place: np.ndarray
    whole: np.ndarray
    groups: list[Any] | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.value)

    @property
    def of_wholes(self) -> Tensor:
        """The label of each whole, ``[k]`` or ``[k, C]``."""
        return shared(self.value, self.whole)

    def take(self, chosen: np.ndarray) -> Labelled:
        """The chosen labels, in order (``chosen`` ``[k]`` int64, or ``[n]`` bool)."""
        index = np.sort(np.flatnonzero(chosen) if chosen.dtype == bool else chosen)
        own = {name: getattr(self, name)[index] for name in ("value", "sample", "place", "whole")}
        return replace(self, **own)

    def draw(self, per_class: int | float, *key: int) -> Labelled:
        """The labels of ``per_class`` wholes of each class; of the same key, fewer are a part of more.

        A float is a share of each class, at least one of it; of labels that are no classes, a share of all, at least
        two.

        Raises:
            ValueError: a number of labels that are no classes, or a class that has too few; a share outside (0, 1].
        """
        if isinstance(per_class, float):
            return self._share(per_class, *key)
        if self.task.kind != CLASSIFICATION:
            raise ValueError(f"`labels_per_class` needs classification, but the task is {self.task.kind}.")
        first = firsts(self.whole)
        value = self.value.numpy()[first]
        classes, counts = np.unique(value, return_counts=True)
        if not 1 <= per_class <= counts.min():
            raise ValueError(
                f"`labels_per_class` must be in [1, {counts.min()}], the labels of class "
                f"{classes[counts.argmin()]}, but is {per_class}."
            )
        order = np.random.default_rng(key).permutation(len(value))
        drawn = np.concatenate([order[value[order] == one][:per_class] for one in classes])
        return self.take(np.isin(self.whole, self.whole[first[drawn]]))

    def _share(self, share: float, *key: int) -> Labelled:
        if not 0 < share <= 1:
            raise ValueError(f"`label_fractions` must be in (0, 1], but one is {share:g}.")
        first = firsts(self.whole)
        value = self.value.numpy()[first]
        order = np.random.default_rng(key).permutation(len(value))
        if self.task.kind == CLASSIFICATION:
            parts = [(order[value[order] == one], 1) for one in np.unique(value)]
        else:
            parts = [(order, 2)]
        drawn = np.concatenate([own[: max(round(share * len(own)), least)] for own, least in parts])
        return self.take(np.isin(self.whole, self.whole[first[drawn]]))

    def hold_out(self, ratio: float, *key: int) -> tuple[Labelled, Labelled | None]:
        """Labels to train on, and a share to validate on, the same share of every class; None for ``ratio`` 0.

        Wholes are held out with all of their pieces, which know of each other, and so are, where labels are per token,
        samples if there are several. A class with two wholes or more has at least one in either part.

        Raises:
            ValueError: too few labels for two parts.
        """
        if not ratio:
            return self, None
        by_sample = self.task.per_token and len(np.unique(self.sample)) > 1
        unit = self.sample if by_sample else self.whole
        first = firsts(unit)
        alike = by_sample or self.task.kind != CLASSIFICATION
        stratum = np.zeros(len(first)) if alike else self.value.numpy()[first]
        order = np.random.default_rng(key).permutation(len(first))
        held: list[int] = []
        for one in np.unique(stratum):
            own = order[stratum[order] == one]
            count = min(max(round(len(own) * ratio), 1), len(own) - 1)
            held += own[:count].tolist()
        if not held:
            raise ValueError(
                f"`val_ratio` must be 0 for {len(first)} labels, of which none can be held out, but is {ratio:g}."
            )
        out = np.isin(unit, unit[first[held]])
        return self.take(~out), self.take(out)

    def samples(self) -> Part:
        """The samples of these labels, other labels blanked."""
        return Part(self)


class Part(Dataset):
    """Samples of a data set with some of their labels.

    Attributes:
        numbers: of the samples in the data set, ``[k]``.
        wholes: the number of what each is a piece of ``[k]``; None where labels are per token.
    """

    def __init__(self, labelled: Labelled) -> None:
        self.dataset = labelled.dataset
        self.numbers, first = np.unique(labelled.sample, return_index=True)
        self.places = np.split(labelled.place, first[1:]) if labelled.task.per_token else None
        self.wholes = None if labelled.task.per_token else labelled.whole[first]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.dataset[int(self.numbers[index])]
        if self.places is None:
            return sample
        label = torch.as_tensor(sample["label"])
        label = label.long() if label.dtype == torch.bool else label
        places = torch.from_numpy(self.places[index])
        blank = torch.full_like(label, float("nan") if label.is_floating_point() else IGNORED)
        return {**sample, "label": blank.index_copy(0, places, label[places])}


def read_labels(
    datamodule: MaskedDataModule, tokenizer: Tokenizer, kind: str | None = None, group: str | None = None
) -> tuple[Labelled, Labelled]:
    """All labels to train and to test on, read in one pass.

    Args:
        datamodule: with labels in its probe sets.
        tokenizer: tells tokens from padding, where labels are per token.
        kind: what the labels are to be taken for; None: what they look like, see `kind_for`. Of classes whose words
            are numbers, regression takes those numbers.
        group: a key of the samples; both parts are then all samples, with their groups.

    Raises:
        ValueError: no labels, labels that are not what ``kind`` says, or samples without the group.
    """
    lacking = [name for name in ("probe_train", "probe_test") if getattr(datamodule.splits, name) is None]
    if lacking:
        raise ValueError("Fine-tuning needs labels, but the data has none" + f" (its `{lacking[0]}` is None).")
    parts = [split_of(datamodule, name) for name in ("probe_train", "probe_test")]
    if group is not None:
        same = datamodule.splits.probe_train is datamodule.splits.probe_test
        parts = [parts[0] if same else ConcatDataset(parts)]
    found = [_read(datamodule, part, tokenizer, group) for part in parts]
    train, test = found[0], found[-1]
    seen = (train.task, test.task) if kind is None else (train.task.per_token, test.task.per_token)
    if seen[0] != seen[1] or train.value.shape[1:] != test.value.shape[1:]:
        raise ValueError(
            f"Labels of `probe_train` and `probe_test` must be alike, but are {train.task} and {test.task}, "
            f"{tuple(train.value.shape)} and {tuple(test.value.shape)}."
        )
    classes = tuple(datamodule.classes)
    kind = kind_for(torch.cat([one.value for one in found]), kind, classes)
    train, *rest = (_taken(one, kind, classes) for one in found)
    return train, rest[0] if rest else train


def describe(train: Labelled, test: Labelled) -> str:
    """What the labels are taken for, in a line."""
    task, value = train.task, torch.cat([train.value, test.value]) if test is not train else train.value
    per = " per token" if task.per_token else ""
    if task.kind == MULTI_LABEL:
        return f"Task: multi-label{per}, {value.shape[1]:,} classes."
    if task.kind == REGRESSION:
        known = value[~value.isnan()]
        several = f" {value.shape[1]:,} numbers each," if value.ndim > 1 else ""
        return f"Task: regression{per},{several} from {known.min().item():.6g} to {known.max().item():.6g}."
    ids = value.unique().tolist()
    words = [train.classes[one] if one < len(train.classes) else str(one) for one in ids]
    shown = ", ".join(words if len(words) < 8 else [*words[:3], "...", words[-1]])
    numbers = numbers_of(words)
    asks = numbers is not None and (len(numbers) > MANY or not all(one.is_integer() for one in numbers))
    hint = " They are numbers, too: `task` 'regression' takes them as such." if asks else ""
    return f"Task: classification{per}, {len(ids):,} classes: {shown}.{hint}"


def _taken(labelled: Labelled, kind: str, classes: tuple[str, ...]) -> Labelled:
    """Labels that were read, as the task takes them."""
    value = _as(taken_as(labelled.value, kind, classes), kind)
    return replace(labelled, task=Task(kind, labelled.task.per_token), value=value, classes=classes)


def _read(datamodule: MaskedDataModule, dataset: Dataset, tokenizer: Tokenizer, group: str | None) -> Labelled:
    """Labels as batches have them, of the task that they look like."""
    values, samples, places, owned = [], [], [], []
    wholes = Wholes()
    groups: list[Any] = []
    task: Task | None = None
    start = 0
    for batch in batches(datamodule, dataset, datamodule.val_batch_size):
        label = batch.get("label")
        if label is None:
            raise ValueError("The data must have a `label` in every sample to fine-tune, but has none.")
        if task is None or task.per_token:
            tokens = tokenizer(batch)
            task = task or task_of(label, tokens)
        if task.per_token:
            owner, place = owners(tokens)
            real = real_tokens(tokens)
            num_samples = tokens.num_samples
            owner, place, label = owner[real], place[real], label[real]
            whole = wholes.alone(len(label))
        else:
            num_samples = len(label)
            owner, place = torch.arange(num_samples), torch.zeros(num_samples, dtype=torch.long)
            whole = wholes.of(batch, num_samples)
        if label.is_floating_point() and bool(label.isinf().any()):
            raise ValueError("Labels must be finite, or NaN where there is none, but one is infinite.")
        known = ~label.isnan() if label.is_floating_point() else label != IGNORED
        known = known if known.ndim == 1 else known.any(1)
        values.append(label[known])
        samples.append(start + owner[known])
        places.append(place[known])
        owned.append(whole[known.numpy()])
        if group is not None:
            groups += _groups(batch, group)
        start += num_samples
    assert task is not None  # no split is empty
    value = torch.cat(values)
    if not len(value):
        raise ValueError("The data must have labels to fine-tune, but all of its labels are unknown.")
    where = torch.cat(samples).numpy(), torch.cat(places).numpy(), np.concatenate(owned)
    return Labelled(dataset, task, value, *where, groups if group else None)


def _as(value: Tensor, kind: str) -> Tensor:
    """Labels checked, and of the type that their kind has."""
    if kind == REGRESSION:
        return value if value.is_floating_point() else value.float().masked_fill(value == IGNORED, float("nan"))
    if value.ndim != (2 if kind == MULTI_LABEL else 1):
        shape = "one row of classes" if kind == MULTI_LABEL else "one class id"
        raise ValueError(f"`task` {kind!r} needs {shape} per label, but labels have the shape {tuple(value.shape)}.")
    known = value[value != IGNORED]
    low, high = known.min().item(), known.max().item()
    if kind == MULTI_LABEL and not bool(((known == 0) | (known == 1)).all()):
        raise ValueError(f"Labels of `task` 'multi-label' must be 0 or 1, but lie in [{low:g}, {high:g}].")
    if kind == CLASSIFICATION and (low < 0 or bool((known != known.round()).any())):
        near = "; nearest: 'regression'" if value.is_floating_point() else ""
        raise ValueError(f"Classes must be whole numbers from 0 on, but lie in [{low:g}, {high:g}]{near}.")
    return value.long()


def _groups(batch: Any, key: str) -> Sequence[Any]:
    found = batch.get(key)
    if found is None:
        names = [name for name in batch if name != "label"]
        raise ValueError(
            f"`groups` must be a key of the samples, but is {key!r}; nearest: {quoted(nearest(key, names) or names)}."
        )
    return found.tolist() if isinstance(found, Tensor) else list(found)
