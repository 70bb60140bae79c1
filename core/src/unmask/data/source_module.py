"""A data module of a source: what is held out, which labels count, and what is told, the same in every modality."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch.utils.data import ConcatDataset, Dataset

from unmask import seeds
from unmask.data.labels import IGNORED, unknown_like
from unmask.data.module import MaskedDataModule, Sample, Splits, held_out
from unmask.data.pools import Pool
from unmask.data.report import UNREADABLE, Report
from unmask.data.shards.order import Nearby
from unmask.data.shards.packing import Packed
from unmask.data.shards.plan import Entry, Plan, fingerprint
from unmask.data.sources import Item, Source
from unmask.support.checks import inside
from unmask.support.progress import track

UNSEEN = "{}s to validate on are of classes that none to train on is of"
NONE_HELD_OUT = "{}s are both trained on and validated on, since `val_ratio` is 0: val/loss is no held-out loss"
SEEN_RATIO = 0.1
"""Share of what is trained on that is validated on where nothing is held out."""
UNPROBED = "parts of the data have no {} with a class, so that nothing can be probed"


class SourceDataModule(MaskedDataModule):
    """Reads a source, and makes splits of it. A modality says how items are read (`collect`) and become `samples`.

    - Items are held out whole, where the source has no part to validate on; the same ones in every run. Where
      ``val_ratio`` is 0, all items are trained on, and a tenth of them is validated on as well: labels of those are
      what probes are scored on, so that they are fitted on others.
    - Labels that are all of one class are left out, for they tell nothing. Samples to train and to validate on have
      labels where every item has one; probes see the items that have one. `everything` has all of them, with a label
      that says "unknown" where an item has none: `IGNORED` for classes, NaN for numbers.
    - What is odd is counted in `report` and shown once before training.

    Args:
        source: what is read.
        report: to be filled.
        val_ratio: share of items held out, in [0, 1), where the source has no part to validate on; 0: none.

    Raises:
        ValueError: a value outside its range; in `setup`, no item that can be used, or only one and nothing to
            validate on; groups that are called as keys of a sample.

    Further arguments are those of `MaskedDataModule`.
    """

    item_name: ClassVar[str] = "item"
    """The same in errors."""
    keys: ClassVar[tuple[str, ...]] = ()
    """Keys of a sample, which no group may be called."""
    left_out: ClassVar[tuple[str, ...]] = (UNREADABLE,)
    """Findings that say why there is no item."""

    def __init__(self, source: Source, report: Report, val_ratio: float = 0.1, **shared: Any) -> None:
        super().__init__(**shared)
        inside("[0, 1)", val_ratio=val_ratio)
        self.source = source
        self.val_ratio = val_ratio
        self.report = report
        if source.kind is not None:
            report.kind = source.kind

    @abstractmethod
    def collect(self, items: Iterable[Item]) -> Any:
        """Reads the items of a part: an object with ``items``, a list of those that can be used.

        Others are left out, counted and named in `report`.
        """

    @abstractmethod
    def samples(self, kept: Any, chosen: list[int], labelled: bool, trained: bool) -> Dataset:
        """Samples of some of the items of a part.

        Args:
            kept: what `collect` gave.
            chosen: places in ``kept.items``.
            labelled: whether samples have ``label``.
            trained: whether they are trained on, so that they are drawn anew each time.

        Returns:
            A data set; where items may lie in shards, with ``of``: the item that each sample is of, in their order.
        """

    def alone(self, kept: Any) -> str | None:
        """What an error adds where the data has a single item to train and validate on; None: it serves both."""
        return ""

    def nearby(self) -> Nearby | None:
        if type(self.source).nearby is Source.nearby:  # whose data sets need not tell which item a sample is of
            return None
        return self.source.nearby([item.content for item in self.splits.train.of])  # type: ignore[attr-defined]

    def shard_plan(self, shuffle: bool) -> Plan:
        self.prepare_data()
        stream = self.source.stream(self.report.findings)
        if stream is not None:
            streamed = {name: (partial(self._streamed, items), 0) for name, items in stream.parts.items()}
            same = fingerprint(self, False, (), stream.same)
            return Plan(self.item, streamed, same, stream.classes, told=lambda: stream.told)
        found = self.source.read(self.report.findings).numbered()
        numbers = {"train": list(range(len(found.train)))}
        if found.val is None and self.val_ratio and len(found.train) > 1:  # the same as are held out of a folder
            numbers["train"], numbers["val"] = held_out(len(found.train), self.val_ratio)
        if shuffle:
            own = numbers["train"]
            rng = seeds.generator("cpu", "shards", len(own))
            numbers["train"] = [own[place] for place in torch.randperm(len(own), generator=rng).tolist()]
        chosen = {name: (found.train, own) for name, own in numbers.items()}
        for name, part in (("val", found.val), ("probe_train", found.probe)):
            if part is not None:
                chosen[name] = part, list(range(len(part)))
        parts = {name: (partial(self._entries, items, own), len(own)) for name, (items, own) in chosen.items()}
        made_of = fingerprint(self, shuffle, [items for items in (found.train, found.val, found.probe) if items])
        return Plan(self.item, parts, made_of, found.classes, found.about)

    def _entries(self, items: Sequence[Item], own: Sequence[int], start: int) -> Iterator[Entry]:
        for number in own[start:]:
            item = items[number]
            yield Entry(item.name, partial(_packed, self, item, number), item.label, item.groups)

    def _streamed(self, items: Callable[[int], Iterator[Item]], start: int) -> Iterator[Entry]:
        for number, item in enumerate(items(start), start):
            yield Entry(item.name, partial(_packed, self, item, number), item.label, item.groups)

    def prepare_data(self) -> None:
        self.source.prepare()

    @property
    def parts(self) -> list[Any]:
        """What `collect` gave for the items to train on, and for those to validate on where the source knows such."""
        return self._read[0]

    @property
    def classes(self) -> Sequence[str]:
        """Names of the labels; empty: there are none."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[list[Any], list[str], bool, Any]:
        """Parts, names of the labels, whether labels tell something, and what probes are fitted on where it is none."""
        found = self.source.read(self.report.findings).numbered()
        parts: list[Any] = []
        for part in found.parts:
            kept = self.collect(track(part, f"reading {self.item}s"))
            if not kept.items:
                named = [self.report.findings.named(what) for what in self.left_out]
                why = "; ".join(names for names in named if names)
                raise ValueError(
                    f"The data must have a {self.item_name} that can be used, but has none{why and ': ' + why}."
                )
            parts.append(kept)
        items = [item for kept in parts for item in kept.items]
        taken = {name for item in items for name in item.groups} & set(self.keys)
        if taken:
            own = ", ".join(map(repr, self.keys))
            raise ValueError(f"What {self.item}s are grouped by must not be called {own}, but one is {min(taken)!r}.")
        probe = None if found.probe is None else self.collect(track(found.probe, f"reading {self.item}s"))
        fitted = parts[0].items if probe is None else probe.items
        trained, classes = (
            {one.label for one in some if isinstance(one.label, int)} for some in (fitted, [*items, *fitted])
        )
        for item in parts[-1].items if len(parts) > 1 and trained else ():
            unseen = isinstance(item.label, int) and item.label != IGNORED and item.label not in trained
            self.report.findings.note(UNSEEN.format(self.item), item.name, int(unseen))
        self.report.num_items = len(items)
        self.report.num_unlabelled = sum(item.label is None for item in items)
        self.report.num_classes = len(classes - {IGNORED})
        told = self.report.num_classes > 1 or any(not isinstance(item.label, int | None) for item in items)
        self.report.classes, self.report.about = list(found.classes) if told else [], found.about
        return parts, self.report.classes, told, probe

    def about(self) -> str:
        _ = self.splits  # fills the report
        return str(self.report)

    def found(self) -> str:
        told = [self.about(), super().found()]
        if len(self.parts) == 1 and not self.val_ratio:
            told.append(f"{len(self._chosen[1]):,} {NONE_HELD_OUT.format(self.item)}.")
        return "\n  ".join(told)

    def load(self) -> Splits:
        train, val, (_, _, told, probe) = self.parts[0], self.parts[-1], self._read
        if len(self.parts) > 1:
            chosen = list(range(len(train.items))), list(range(len(val.items)))
        elif len(train.items) > 1:
            chosen = held_out(len(train.items), self.val_ratio or SEEN_RATIO)
        elif not self.val_ratio or (reason := self.alone(train)) is None:
            chosen = [0], [0]
        else:
            raise ValueError(
                f"The data must have at least 2 {self.item_name}s, to train and to validate on, but has 1{reason}."
            )

        def labelled_in(kept: Any, own: Iterable[int]) -> list[int]:
            return [place for place in own if _has_label(kept, place)]

        fitted, own = (train, chosen[0]) if probe is None else (probe, list(range(len(probe.items))))
        if len(self.parts) == 1 and not self.val_ratio:
            chosen = sorted({*chosen[0], *chosen[1]}), chosen[1]
        with_class = labelled_in(fitted, own), labelled_in(val, chosen[1])
        for name, own in zip(("to train on", "to validate on"), with_class, strict=True):
            unprobed = told and not own
            self.report.findings.note(UNPROBED.format(self.item), name, int(unprobed))
        self._chosen = chosen
        probed = told and all(with_class)
        labelled = probed and (labelled_in(train, chosen[0]), with_class[1]) == chosen
        splits = Splits(
            self.samples(train, chosen[0], labelled, trained=True),
            self.samples(val, chosen[1], labelled, trained=False),
        )
        if not probed:
            return splits
        probe_train, probe_test = (
            self.samples(kept, own, True, trained=False) for kept, own in zip((fitted, val), with_class, strict=True)
        )
        return splits._replace(probe_train=probe_train, probe_test=probe_test)

    def pool(self) -> Pool:
        """Samples have a label where all items have one that tells something."""
        _ = self.splits  # chooses what is held out
        every = [item for kept in self.parts for item in kept.items]
        labelled = self._read[2] and all(item.label is not None for item in every)
        sets = {
            trained: [self.samples(kept, list(range(len(kept.items))), labelled, trained) for kept in self.parts]
            for trained in (True, False)
        }
        if any(not hasattr(one, "of") for one in sets[True]):
            return super().pool()
        number = {id(item): place for place, item in enumerate(every)}
        items = [item for one in sets[True] for item in one.of]  # type: ignore[attr-defined]
        begin = len(self.parts[0].items)
        held = {begin + place if len(self.parts) > 1 else place for place in self._chosen[1]}
        held -= set(self._chosen[0])  # of what is both trained on and validated on, nothing is held out
        return Pool(
            ConcatDataset(sets[True]),
            ConcatDataset(sets[False]),
            [number[id(item)] for item in items],
            [number[id(item)] in held for item in items],
            {
                "name": [item.name for item in items],
                "label": [item.label if labelled else None for item in items],
            },
            self.classes,
            sum(self.report.findings.count(what) for what in self.left_out),
        )

    def everything(self) -> dict[str, Dataset]:
        train, val, (_, _, told, probe) = self.parts[0], self.parts[-1], self._read
        _ = self.splits  # chooses what is held out
        seen = set(self._chosen[0]) if train is val else set()
        every = {
            "train": (train, self._chosen[0]),
            "val": (val, [place for place in self._chosen[1] if place not in seen]),
            "probe_train": (probe, list(range(0 if probe is None else len(probe.items)))),
        }
        return {name: self._all(kept, own, told) for name, (kept, own) in every.items() if own}

    def _all(self, kept: Any, own: list[int], told: bool) -> Dataset:
        """Some items of a part in their order, with a label where any of them has one that tells something."""
        known = [place for place in own if told and _has_label(kept, place)]
        others = sorted(set(own) - set(known))
        if not known or not others:
            return self.samples(kept, own, bool(known), trained=False)
        with_label, without = (self.samples(kept, some, some is known, trained=False) for some in (known, others))
        return Mixed(with_label, without, known, others)


def _packed(module: SourceDataModule, item: Item, number: int) -> Packed:
    return module.shard_content(item.read(), number)


def _has_label(kept: Any, place: int) -> bool:
    return kept.items[place].label is not None


class Mixed(Dataset):
    """Samples with and without a label, in the order of their places.

    Args:
        known: with a label.
        others: without one.
        places: of the first, ascending.
        other_places: of the others, whose label says "unknown".
    """

    def __init__(self, known: Dataset, others: Dataset, places: list[int], other_places: list[int]) -> None:
        self.parts, self.unknown = (known, others), unknown_like(known[0]["label"])
        every = [(place, 0, own) for own, place in enumerate(places)]
        every += [(place, 1, own) for own, place in enumerate(other_places)]
        self.where = [(part, own) for _, part, own in sorted(every)]

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, index: int) -> Sample:
        part, own = self.where[index]
        sample: Sample = self.parts[part][own]
        return sample if part == 0 else sample | {"label": self.unknown}
