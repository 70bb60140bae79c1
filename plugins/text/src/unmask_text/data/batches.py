"""Batches of documents of different lengths: packed without padding, or of similar length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from unmask import seeds
from unmask.data import Augmented, KeyedSampler, Sample

Key = tuple[int, int, int]


class Collate:
    """Samples to a batch: packed ``ids [T]`` with ``offsets [B + 1]``, or dense ``[B, N]`` with ``valid``.

    Args:
        pack: whether to pack.
        tokenizer: path that the batch names, for whoever asks what its ids mean.
    """

    def __init__(self, pack: bool, tokenizer: str) -> None:
        self.pack = pack
        self.tokenizer = tokenizer

    def __call__(self, samples: list[Sample] | Sample) -> dict[str, Any]:
        samples = [samples] if isinstance(samples, dict) else samples
        numbers = [key for key in ("index", "label", "piece") if key in samples[0]]
        batch: dict[str, Any] = {key: torch.tensor([sample[key] for sample in samples]) for key in numbers}
        if "name" in samples[0]:
            batch["name"] = [sample["name"] for sample in samples]
        rows = {key: [sample[key] for sample in samples] for key in ("ids", "word")}
        lengths = torch.tensor([len(ids) for ids in rows["ids"]])
        if self.pack:
            batch |= {key: torch.cat(row) for key, row in rows.items()}
            batch["offsets"] = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        else:
            batch |= {key: torch.nn.utils.rnn.pad_sequence(row, batch_first=True) for key, row in rows.items()}
            batch["valid"] = torch.arange(int(lengths.max())) < lengths[:, None]
        return batch | {"tokenizer": self.tokenizer}


class Several(Augmented):
    """Samples by a list of keys, for samplers that say whole batches."""

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, list):
            return [super(Several, self).__getitem__(one) for one in key]
        return super().__getitem__(key)


class BatchSampler(KeyedSampler):
    """Whole batches as lists of keys ``(seed, epoch, index)``, keyed by seed and epoch, for one of several devices.

    ``start`` batches of this device are left out of the next pass. Every device has as many batches,
    and as many in each epoch.

    Args:
        dataset: the samples.
        lengths: tokens of each.
        batch_size: samples in a batch, or, see the subclass, what stands for it.
        num_replicas: devices.
        rank: this one.
        seed: of the run.
        drop_last: leave out what does not fill a batch for every device.
    """

    def __init__(
        self, dataset: Dataset, lengths: np.ndarray, batch_size: int, num_replicas: int = 1, rank: int = 0,
        seed: int = 0, drop_last: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(dataset, num_replicas, rank, seed=seed, drop_last=drop_last)
        self.lengths = lengths
        self.batch_size = batch_size
        self.num_batches = self.count()

    def __len__(self) -> int:
        return self.num_batches // self.num_replicas

    def __iter__(self) -> Iterator[list[Key]]:  # type: ignore[override]
        generator = seeds.generator("cpu", self.seed, "order", self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).numpy()
        order, bounds = self.cut(order, generator)  # batch b is order[bounds[b, 0] : bounds[b, 1]]
        for first, last in bounds[self.rank :: self.num_replicas][self.start :].tolist():
            yield [(self.seed, self.epoch, index) for index in order[first:last].tolist()]

    def count(self) -> int:
        """Batches of all devices: a multiple of their number."""
        raise NotImplementedError

    def cut(self, order: np.ndarray, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The order of samples, and where batches begin and end in it ``[num_batches, 2]``."""
        raise NotImplementedError


class TokenBudget(BatchSampler):
    """About ``batch_size`` tokens in a batch, whole documents in random order, none left out.

    An epoch's tokens are cut into as many equal parts as keep within the budget; a document belongs to the
    part that its first token lies in. So the number of batches is the same in every epoch, and a
    batch exceeds its part by less than one document.
    """

    def count(self) -> int:
        batches = -(-int(self.lengths.sum()) // self.batch_size)
        batches = -(-batches // self.num_replicas) * self.num_replicas
        least = int(self.lengths.max())
        if batches > 1 and self.lengths.sum() // batches < least:
            raise ValueError(
                f"`tokens_per_batch` must leave {least} tokens, the longest piece, to each of the "
                f"{batches} batches of an epoch, but is {self.batch_size} of {int(self.lengths.sum())} tokens."
            )
        return batches

    def cut(self, order: np.ndarray, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        ends = self.lengths[order].cumsum()
        begins = ends - self.lengths[order]
        parts = np.arange(self.num_batches + 1) * ends[-1] // self.num_batches
        bounds = np.searchsorted(begins, parts)
        return order, np.stack([bounds[:-1], bounds[1:]], axis=1)


class SimilarLengths(BatchSampler):
    """``batch_size`` samples of similar length, batches in random order.

    Samples in random order are sorted by length within runs of 64 batches, then cut into batches.
    """

    pool = 64

    def count(self) -> int:
        unit = self.batch_size * self.num_replicas
        whole = len(self.lengths) // unit if self.drop_last else -(-len(self.lengths) // unit)
        return whole * self.num_replicas

    def cut(self, order: np.ndarray, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
        order = np.resize(order, self.num_batches * self.batch_size)  # cuts off, or fills up from the front
        pools = np.arange(len(order)) // (self.batch_size * self.pool)
        order = order[np.lexsort((self.lengths[order], pools))]
        begins = torch.randperm(self.num_batches, generator=generator).numpy() * self.batch_size
        return order, np.stack([begins, begins + self.batch_size], axis=1)
