"""Data modules whose order and augmentations are keyed, so that a killed run goes on exactly where it was.

A subclass says what the samples are (`load`); the order of an epoch, augmentation, batches, workers,
sharding over devices and resuming are the same for all modalities, and done here.
"""

from __future__ import annotations

import inspect
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, NamedTuple, Self

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from unmask import agreements, seeds
from unmask.data.pools import Pool
from unmask.data.shards.index import ShardError
from unmask.data.shards.order import Nearby
from unmask.data.shards.packing import Packed, packed
from unmask.data.shards.plan import Plan
from unmask.support.checks import at_least
from unmask.support.remembered import Remembered

Sample = dict[str, Any]


PLACES = ("folder", "paths", "path", "images", "shards")
"""Options that say where data lies."""
OF_PARTS = (
    "val_folder",
    "val_path",
    "val_paths",
    "probe_paths",
    "probe_test_paths",
    "val_images",
    "val_labels",
    "val_table",
)
OF_LABELS = ("labels", "pattern", "label_kind", "label_separator", "label_key", "id_key")
OF_TABLES = (
    "table",
    "table_format",
    "file_column",
    "label_column",
    "group_column",
    "start_column",
    "end_column",
    "id_column",
)
OF_ITS_OWN = OF_PARTS + OF_LABELS + OF_TABLES
"""Options that are of certain data alone: its parts, its labels, and tables of its files."""


class Splits(NamedTuple):
    """Map-style data sets whose items are dicts of tensors, arrays or numbers.

    Args:
        train: samples to pre-train on; each may be of another size when an augmentation evens that out.
        val: samples that the validation loss is measured on.
        probe_train: labelled samples (key ``label``) that probes are fitted on, not augmented.
        probe_test: labelled samples that probes are scored on.
    """

    train: Dataset
    val: Dataset
    probe_train: Dataset | None = None
    probe_test: Dataset | None = None


class MaskedDataModule(Remembered, L.LightningDataModule, ABC):
    """Feeds a run: batches are dicts with what `load` gave, collated, and ``index`` ``[B]`` int64.

    Samples may have a ``name``, and a ``piece`` where they are pieces of what has that name (windows of a sound), each
    with a number of its own, from 0. Results count them as one (`unmask.tools.wholes`).

    Epoch e has a permutation keyed by (seed, e), and its sample i an augmentation keyed by (seed, e,
    i): batches depend neither on the number of workers nor on kills and resumes. The seed is torch's
    initial seed at the first fit, that of ``seed_everything``, and is kept in the checkpoint.

    Args:
        batch_size: training samples per device and step, at least 1.
        num_workers: loading processes per device; None: 0 for at most 10,000 training samples, else
            one per core, at most 8.
        val_batch_size: samples per validation step; None: ``batch_size``.
        augment: turns a training sample (a dict) into another one; draws from torch's global
            generator or Python's ``random`` only, which are keyed around the call. None: leaves
            samples as they are. Validation and probes never see it.
        drop_last: leave out the last, smaller batch of a training epoch.

    Raises:
        ValueError: a count below its minimum, or (in `setup`) fewer training samples than a batch.
    """

    sample_name: ClassVar[str] = "samples"
    """What the samples are called in a progress bar."""
    item: ClassVar[str] = "item"
    """One thing that it reads, in messages and in shards."""
    facts: ClassVar[Mapping[str, tuple[type, ...]]] = {}
    """What the index of shards says of an item before it is read: kinds by name. An int is one from 0."""

    def __init__(
        self,
        batch_size: int = 256,
        num_workers: int | None = None,
        val_batch_size: int | None = None,
        augment: Callable[[Sample], Sample] | None = None,
        drop_last: bool = True,
    ) -> None:
        super().__init__()
        val_batch_size = batch_size if val_batch_size is None else val_batch_size
        at_least(1, batch_size=batch_size, val_batch_size=val_batch_size)
        if num_workers is not None and num_workers < 0:
            raise ValueError(f"`num_workers` must be at least 0, but is {num_workers}.")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.val_batch_size = val_batch_size
        self.augment = augment
        self.drop_last = drop_last
        self.seed: int | None = None
        self._splits: Splits | None = None
        self._told = False

    @abstractmethod
    def load(self) -> Splits:
        """The data sets; called once, on every device's process."""

    @property
    def collate_fn(self) -> Callable[[list[Any]], Any] | None:
        """Makes a batch of a list of samples; None: as torch does. A subclass overrides it. Loading processes get a
        copy of it, so it must not hold the data."""
        return None

    @property
    def classes(self) -> Sequence[str]:
        """The words that labels 0, 1, 2, ... stand for, as the source writes them; empty where it has none."""
        return ()

    def about(self) -> str:
        """What was read and what was odd in it; empty: nothing is said of it."""
        return ""

    def found(self) -> str:
        """The same, and what is trained on, shown once before training."""
        train, val = (len(part) for part in (self.splits.train, self.splits.val))  # type: ignore[arg-type]
        return f"{train:,} {self.sample_name} to train on, {val:,} to validate on."

    @property
    def splits(self) -> Splits:
        """The data sets, loaded when first asked for; probe sets stand in where `load` gave none."""
        if self._splits is None:
            splits = self.load()
            if splits.probe_train is None and len(splits.train) and "label" in splits.train[0]:  # type: ignore[arg-type]
                splits = splits._replace(probe_train=splits.train, probe_test=splits.probe_test or splits.val)
            self._splits = splits
        return self._splits

    def everything(self) -> dict[str, Dataset]:
        """Each sample once, never augmented, by its part: ``train``, and ``val`` where those are others."""
        train, val = self.splits.train, self.splits.val
        return {"train": train} if val is train else {"train": train, "val": val}

    def pool(self) -> Pool:
        """All samples that are trained or validated on, each once, to be joined with those of other modules."""
        train, val = self.splits.train, self.splits.val
        return Pool.of([train] if val is train else [train, val], self.classes)

    def nearby(self) -> Nearby | None:
        """Which training samples lie together, so that an epoch's order keeps them near; None: it does not matter."""
        return None

    def shard_plan(self, shuffle: bool) -> Plan:
        """What ``unmask shard`` writes: the data of every part as it comes from its source.

        Args:
            shuffle: training samples in a random order, the same each time.

        Raises:
            ValueError: this data cannot be written to shards.
        """
        raise ShardError(f"{type(self).__name__} makes samples that `unmask shard` cannot write.")

    def shard_content(self, content: Any, number: int) -> Packed:
        """The content of an item as a shard holds it, and what must be known of it before it is read.

        Args:
            content: what an item gives.
            number: of the item in its part.

        Raises:
            Unreadable: it cannot be used, so that it is left out.
            ShardError: it is of a kind that cannot be written.
        """
        made = packed(content)
        if made is None:
            raise ShardError(
                f"{type(self).__name__} has a {type(content).__name__} for each {self.item}, which `unmask shard` "
                "cannot write."
            )
        return made

    def token_names(self, split: str, index: int) -> list[str] | None:
        """What the tokens of a sample are called, such as nodes of a graph; None: nothing of their own.

        Args:
            split: as `everything` calls it, or a field of `Splits`.
            index: the sample's number in it.
        """
        return None

    def elsewhere(self, where: str) -> Self:
        """A data module that reads what lies at ``where`` as this one reads its own data: without labels, and with
        nothing held out.

        Raises:
            ValueError: it reads neither files nor folders.
        """
        args, kwargs = self._given
        takes = inspect.signature(type(self))
        given = {**dict(zip(takes.parameters, args, strict=False)), **kwargs}
        place = next((name for name in PLACES if name in takes.parameters), None)
        if place is None:
            raise ValueError(
                f"{type(self).__name__} reads no files or folders, so that it cannot read {where!r}; give `--data` a "
                "YAML file whose `data` does."
            )
        kept = {name: value for name, value in given.items() if name not in OF_ITS_OWN}
        unlabelled = {"labels": None} if "labels" in takes.parameters else {}
        return type(self)(**{**kept, **unlabelled, **self.carried(), place: where, "val_ratio": 0})

    def carried(self) -> dict[str, Any]:
        """Options that other data must be read with, such as a vocabulary that this data gave, by name."""
        return {}

    def check_trainable(self) -> None:
        """Refuses data that can be read but not trained on; `setup` calls it once the splits are there.

        Raises:
            ValueError: it is such data.
        """

    def setup(self, stage: str | None = None) -> None:
        model = getattr(self.trainer, "lightning_module", None)
        if model is not None and self._splits is None:  # before reading, which may take long
            agreements.check(model, self, loaded=False)
        num_samples = len(self.splits.train)  # type: ignore[arg-type]
        self.check_trainable()
        if not self._told:
            self._told = True
            rank_zero_only(print)(self.found(), flush=True)
        if stage not in (None, "fit"):
            return
        shard = num_samples // self._world()[0]
        if self.drop_last and shard < self.batch_size:
            raise ValueError(
                f"`batch_size` must be at most {shard}, the number of training samples per device, "
                f"but is {self.batch_size}. Lower it, or set `drop_last` to False."
            )
        if self.seed is None:  # later calls would find what the steps have seeded torch with
            self.seed = torch.initial_seed()
            if self.trainer is not None:  # unseeded processes differ, but must agree on the order
                self.seed = self.trainer.strategy.broadcast(self.seed)

    def train_dataloader(self) -> ResumableLoader:
        self.setup("fit")
        num_replicas, rank = self._world()
        dataset = self.augmented()
        return ResumableLoader(
            dataset,
            sampler=KeyedSampler(
                dataset, num_replicas, rank, seed=self.seed or 0, drop_last=self.drop_last, nearby=self.nearby()
            ),
            where=self._where,
            batch_size=self.batch_size,
            drop_last=self.drop_last,
            **self._workers(),
        )

    def augmented(self) -> Augmented:
        """Training samples by keys ``(seed, epoch, index)``."""
        return Augmented(self.splits.train, self.augment)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Augmented(self.splits.val), batch_size=self.val_batch_size, **self._workers())

    test_dataloader = predict_dataloader = val_dataloader

    def state_dict(self) -> dict[str, Any]:
        """The seed, and the names of classes, so that a checkpoint says what its class ids stand for."""
        classes = list(self.classes)
        return {"seed": self.seed} | ({"classes": classes} if classes else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seed = state_dict["seed"]

    def _world(self) -> tuple[int, int]:
        """Number of devices, and which of them this process serves."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer is not None else (1, 0)

    def _workers(self) -> dict[str, Any]:
        workers = self.num_workers
        if workers is None:
            workers = min(os.cpu_count() or 1, 8) if len(self.splits.train) > 10_000 else 0  # type: ignore[arg-type]
        pin = torch.cuda.is_available()
        begin = _outlive_one_sigterm if workers else None
        return {
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": pin,
            "worker_init_fn": begin,
            "collate_fn": self.collate_fn,
        }

    def _where(self) -> tuple[int, int] | None:
        """Epoch, and batches of it already trained on, where the trainer is; None outside of training."""
        if self.trainer is None or not self.trainer.training:
            return None
        # not `epoch_progress.current.processed`: an epoch too many once resumed at an end under max_steps
        return self.trainer.current_epoch, self.trainer.fit_loop.epoch_loop.batch_progress.current.ready


def _outlive_one_sigterm(worker: int) -> None:
    """Leaves a first SIGTERM, which schedulers send to all processes of a run, to the one that trains."""
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def held_out(num_samples: int, val_ratio: float) -> tuple[list[int], list[int]]:
    """Indices to train on and indices to validate on, the same in every run; one sample serves as both."""
    order = torch.randperm(num_samples, generator=seeds.generator("cpu", "split")).tolist()
    num_val = min(max(round(num_samples * val_ratio), 1), num_samples - 1)
    return sorted(order[num_val:]), sorted(order[:num_val]) or order


class Augmented(Dataset):
    """Samples with their ``index``, augmented when asked by a key ``(seed, epoch, index)``."""

    def __init__(self, dataset: Dataset, augment: Callable[[Sample], Sample] | None = None) -> None:
        self.dataset = dataset
        self.augment = augment

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: int | tuple[int, int, int]) -> Sample:
        # a plain number comes from samplers that Lightning puts in (overfit_batches, validation)
        seed, epoch, index = key if isinstance(key, tuple) else (0, 0, key)
        sample = self.dataset[index]
        if self.augment is not None:
            with seeds.seeded(seed, "augment", epoch, index):
                sample = self.augment(sample)
        return {**sample, "index": index}


class KeyedSampler(DistributedSampler):  # so that Lightning puts no other in its place
    """Keys ``(seed, epoch, index)`` in an order keyed by seed and epoch, for one of several devices.

    Args:
        nearby: samples that lie together come near each other; None: all are mixed.

    Further arguments are those of `DistributedSampler`.
    """

    start = 0  # samples of this device to leave out of the next pass

    def __init__(self, *args: Any, nearby: Nearby | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.nearby = nearby

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        rng = seeds.generator("cpu", self.seed, "order", self.epoch)
        order = torch.randperm(len(self.dataset), generator=rng)  # type: ignore[arg-type]
        order = order if self.nearby is None else self.nearby.ordered(order, rng)
        order = order.repeat(-(-self.total_size // len(order)))[: self.total_size]  # fills up the last shard
        order = order[self.rank :: self.num_replicas][self.start :]
        ahead = {} if self.nearby is None else dict(self.nearby.ahead(order))
        for place, index in enumerate(order.tolist()):
            if self.nearby is not None and place in ahead:
                self.nearby.fetch(ahead[place])
            yield self.seed, self.epoch, index


class ResumableLoader(DataLoader):
    """A loader that begins where the trainer stands.

    Lightning makes the iterator before it restores a checkpoint's counters; so this one asks for
    them when its first batch is fetched. Its state dict is empty: the trainer's counters are enough.

    Args:
        where: gives the epoch and the number of its batches to leave out, or None when nobody is
            training: then epochs count up from 0 with each pass.
    """

    def __init__(self, dataset: Dataset, *, where: Callable[[], tuple[int, int] | None], **kwargs: Any) -> None:
        super().__init__(dataset, **kwargs)
        self.where = where
        self._passes = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        epoch, done = self.where() or (self._passes, 0)
        self._passes = epoch + 1
        if isinstance(self.sampler, KeyedSampler):
            self.sampler.set_epoch(epoch)
            self.sampler.start = done * (self.batch_size or 1)
            done = 0
        yield from islice(super().__iter__(), done, None)  # a sampler that Lightning put in begins at its first

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...
