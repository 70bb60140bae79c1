"""Samples of a split, in order and never augmented, in batches as the data module makes them."""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from unmask.data import Augmented, MaskedDataModule, unknown_like
from unmask.structures import Tokens
from unmask.support.checks import at_least
from unmask.tools.features import ALL, SPLITS
from unmask.tools.features.labels import in_line


def split_of(datamodule: MaskedDataModule, name: str) -> Dataset:
    """A split with ``index`` in its samples.

    Args:
        datamodule: whose.
        name: ``train``, ``val``, ``probe_train`` or ``probe_test``.

    Raises:
        ValueError: another name, or a split that this data has not, or that is empty.
    """
    if name not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join([ALL, *SPLITS])}, but is {name!r}.")
    there = [one for one, split in datamodule.splits._asdict().items() if split is not None and len(split)]
    if name not in there:
        raise ValueError(f"`split` must be one that the data has ({', '.join(there)}), but is {name!r}.")
    return Augmented(getattr(datamodule.splits, name))


def parts_of(datamodule: MaskedDataModule, name: str) -> dict[str, Dataset]:
    """A split by its name, as `split_of` has it; or of ``all``, every part of `MaskedDataModule.everything`.

    Where a part has labels, those of parts without say "unknown".
    """
    if name != ALL:
        return {name: split_of(datamodule, name)}
    parts = {part: Augmented(dataset) for part, dataset in datamodule.everything().items() if len(dataset)}  # type: ignore[arg-type]
    labels = {part: dataset[0].get("label") for part, dataset in parts.items()}
    known = next((label for label in labels.values() if label is not None), None)
    if known is None:
        return dict(parts)
    return {part: own if labels[part] is not None else Unlabelled(own, known) for part, own in parts.items()}


class Unlabelled(Dataset):
    """Samples with an unknown label, of the kind that ``like`` is."""

    def __init__(self, samples: Dataset, like: Any) -> None:
        self.samples, self.label = samples, unknown_like(like)

    def __len__(self) -> int:
        return len(self.samples)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        return self.samples[index] | {"label": self.label}


def batches(
    datamodule: MaskedDataModule, dataset: Dataset, batch_size: int, start: int = 0, stop: int | None = None
) -> DataLoader:
    """``dataset`` from sample ``start`` up to ``stop``, collated and loaded as the data module does for validation.

    Args:
        datamodule: whose way of collating and number of loading processes are used.
        dataset: what `split_of` gave.
        batch_size: samples per batch, at least 1.
        start: the first sample.
        stop: the one after the last; None: there is none.
    """
    like = datamodule.val_dataloader()
    rest = Subset(dataset, range(start, len(dataset) if stop is None else stop))  # type: ignore[arg-type]
    return DataLoader(rest, batch_size, num_workers=like.num_workers, collate_fn=_Collate(like.collate_fn))


def some(
    datamodule: MaskedDataModule, split: str, num_samples: int, device: torch.device | str
) -> tuple[Any, list[int]]:
    """One batch of samples spread evenly over a split, which may be sorted by class.

    Args:
        datamodule: whose.
        split: see `split_of`.
        num_samples: how many, at least 1; fewer where the split has no more.
        device: where the batch goes.

    Returns:
        The batch, and the samples' numbers in the split.

    Raises:
        ValueError: a count below 1, or as `split_of`.
    """
    at_least(1, num_samples=num_samples)
    dataset = split_of(datamodule, split)
    total = len(dataset)  # type: ignore[arg-type]
    count = min(num_samples, total)
    chosen = [i * total // count for i in range(count)]
    collate = _Collate(datamodule.val_dataloader().collate_fn)
    return move_data_to_device(collate([dataset[i] for i in chosen]), torch.device(device)), chosen


def owners(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Which sample of the batch each token belongs to, and its number in it (in its part, where samples have parts):
    ``[B, N]``, packed ``[T]``."""
    if tokens.parts is not None:
        each = {name: owners(part) for name, part in tokens.parts.items()}
        sample, place = (in_line({name: one[i] for name, one in each.items()}) for i in (0, 1))
        return sample, place
    device = tokens.values.device
    every = torch.arange(tokens.num_samples, device=device)
    if tokens.offsets is not None:
        sample = every.repeat_interleave(tokens.offsets.diff())  # [T]
        return sample, torch.arange(len(sample), device=device) - tokens.offsets[sample]
    num_tokens = tokens.values.shape[1]
    place = torch.arange(num_tokens, device=device).expand(len(every), -1)
    return every[:, None].expand(-1, num_tokens), place


def count_per_sample(places: Tensor, tokens: Tokens) -> Tensor:
    """How many of ``places`` (``[B, N]``, packed ``[T]``, bool) each sample has: ``[B]`` int64."""
    sample, _ = owners(tokens)
    counts = torch.zeros(tokens.num_samples, dtype=torch.long, device=places.device)
    return counts.scatter_add(0, sample.flatten(), places.flatten().long())


class _Collate:
    """Collate, and say what to do about samples that cannot be put together. Loading processes can be sent it."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        try:
            return self.collate(samples)
        except RuntimeError as error:
            if "equal size" not in str(error) and "not resizable" not in str(error):
                raise
            labels = sorted({_shape(one["label"]) for one in samples if "label" in one})
            if len(labels) > 1:
                raise ValueError(
                    f"`label` must have one shape in all samples, but has {', '.join(map(str, labels[:3]))}; for "
                    "several classes per sample, give 0 or 1 for each class."
                ) from error
            shapes = {tuple(x.shape) for one in samples for x in one.values() if isinstance(x, Tensor)}
            told = ", ".join(str(shape) for shape in sorted(shapes)[:3])
            raise ValueError(
                f"The samples of a split must be of one size, but there are {told}, as in a `train` that only an "
                "augmentation evens out; take `probe_train` or `val`."
            ) from error


def _shape(label: Any) -> tuple[int, ...]:
    return (len(label),) if isinstance(label, list | tuple) else tuple(getattr(label, "shape", ()))
