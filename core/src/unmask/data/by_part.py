"""Data by part: samples of several data modules that belong together, as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch.utils.data import Dataset, default_collate

from unmask import agreements, seeds
from unmask.data.findings import Findings
from unmask.data.module import Augmented, MaskedDataModule, Sample, Splits
from unmask.data.pairing import partners
from unmask.data.pools import Pool

PAIRS = ("name", "label", "index")
SHARED = ("label", "name", "piece")
"""Keys of a sample that a whole one has as well: those of the first part that has them."""


class DataByPart(MaskedDataModule):
    """Joins data modules of other plugins: each sample has a part of every module.

    A batch is ``{part: the batch of its module}``, with ``index``, and ``label``, ``name`` and ``piece`` of the first
    part that has them; `TokenizerByPart` reads it. Each module keeps its own collation, cache and augmentation; what it
    says of batches (``batch_size``, ``num_workers``) is not read.

    There are as many samples as the first part has. Where several samples of another part belong to one of these
    (captions of an image, sounds of a class), one of them is drawn anew each time, keyed as an augmentation is;
    validation always takes the same ones. Pairs by name or index are held out as the first part holds out its samples;
    by label, each part trains on what it trains on itself.

    Args:
        members: data modules by the names of parts, at least two.
        pair: what belongs together: files of one ``name`` (as `unmask.data.pairing` compares them), samples of one
            ``label``, or samples of one place in their sources (``index``), which must have as many.
        missing: samples that lack a part are left alone (``leave-out``), or are trained on with padding in its place
            (``pad``); the first part is never lacking.
        aligned: parts whose augmentations draw the same numbers, such as crops of an image and of its depth.
        batch_size: samples per device and step.
        num_workers: loading processes per device; None: by the number of samples.
        val_batch_size: samples per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: fewer than two parts, an unknown word, or an aligned part that there is not; in `setup`, parts of
            other lengths that are paired by index, or none or too few samples that belong together.
    """

    sample_name: ClassVar[str] = "pairs"
    item: ClassVar[str] = "pair"

    def __init__(
        self,
        members: dict[str, MaskedDataModule],
        pair: Literal["name", "label", "index"] = "name",
        missing: Literal["leave-out", "pad"] = "leave-out",
        aligned: list[str] | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if len(members) < 2:
            raise ValueError(f"`members` must be at least 2 data modules, but is {', '.join(members) or 'empty'}.")
        if pair not in PAIRS:
            raise ValueError(f"`pair` must be one of {', '.join(map(repr, PAIRS))}, but is {pair!r}.")
        if missing not in ("leave-out", "pad"):
            raise ValueError(f"`missing` must be 'leave-out' or 'pad', but is {missing!r}.")
        for name in aligned or ():
            if name not in members:
                raise ValueError(f"`aligned` must name parts ({', '.join(members)}), but one is {name!r}.")
        self.members = dict(members)
        self.pair = pair
        self.missing = missing
        self.aligned = tuple(aligned or ())
        self.findings = Findings()

    def prepare_data(self) -> None:
        if self.trainer is not None and self.trainer.lightning_module is not None:
            agreements.check(self.trainer.lightning_module, self, loaded=False)  # before anything is read
        for member in self.members.values():
            member.prepare_data()

    @property
    def collate_fn(self) -> CollateByPart:
        collates = {name: member.collate_fn or default_collate for name, member in self.members.items()}
        return CollateByPart(collates, self.missing == "pad")

    @property
    def classes(self) -> Sequence[str]:
        return next((words for member in self.members.values() if (words := member.classes)), ())

    @cached_property
    def pools(self) -> dict[str, Pool]:
        """All samples of each part."""
        return {name: member.pool() for name, member in self.members.items()}

    def about(self) -> str:
        _ = self.splits  # fills the findings
        told = [f"{name}: {about}" for name, member in self.members.items() if (about := member.about())]
        return "\n".join([*told, f"Parts {', '.join(self.members)}, paired by {self.pair}.", *self.findings.lines()])

    def found(self) -> str:
        return f"{self.about()}\n  {super().found()}"

    def load(self) -> Splits:
        first, *others = self.members
        pool = self.pools[first]
        found = {name: self._candidates(name) for name in others}
        rows: list[Row] = []
        for place in range(len(pool.held)):
            row = {name: found[name][place] for name in others}
            if self.missing == "pad" or all(row.values()):
                rows.append({first: [place], **row})
        if self.missing == "pad" and not any(all(row.values()) for row in rows):
            rows = []
        train, held = ([row for row in rows if pool.held[row[first][0]] is one] for one in (False, True))
        if not train or not held:
            told = "".join(f"\n  {line}" for line in self.findings.lines())
            raise ValueError(
                f"Parts must have samples of one {self.pair} to train and to validate on, but {len(train):,} and "
                f"{len(held):,} are found; what is held out is said by `{first}`.{told}"
            )
        whole = {
            one: Joined(self.pools, some, self.missing == "pad") for one, some in (("train", train), ("val", held))
        }
        splits = Splits(whole["train"], whole["val"])
        return splits._replace(probe_train=whole["train"], probe_test=whole["val"]) if whole["val"].labelled else splits

    def augmented(self) -> Augmented:
        joined = self.splits.train
        assert isinstance(joined, Joined)
        augments = {name: member.augment for name, member in self.members.items()}
        return Drawn(joined, augments, self.aligned)

    def _candidates(self, name: str) -> list[list[int]]:
        """For each sample of the first part, the samples of this one that belong to it; tells who is left alone."""
        first = next(iter(self.members))
        one, other = self.pools[first], self.pools[name]
        keys: Sequence[str | None]
        theirs: Sequence[str | None]
        if self.pair == "index":
            self._check_counts(first, name)
            keys, theirs = ([str(number) for number in pool.numbers] for pool in (one, other))
        else:
            keys, theirs = self._keys(first), self._keys(name)
        if self.pair == "name":
            same = partners([key for key in keys if key is not None], [key for key in theirs if key is not None])
            keys = [None if key is None else same.get(key) for key in keys]
        # by label each part keeps what it holds out itself: another's sample must be on the same side
        apart = self.pair == "label"
        groups: dict[Any, list[int]] = defaultdict(list)
        for place, key in enumerate(theirs):
            groups[key, apart and other.held[place]].append(place)
        found = [
            [] if key is None else groups.get((key, apart and one.held[place]), []) for place, key in enumerate(keys)
        ]
        named = self._named(first)
        padded = "have padding in its place" if self.missing == "pad" else "are left out"
        for place, some in enumerate(found):
            self.findings.note(f"samples of `{first}` have no `{name}` and {padded}", named(place), int(not some))
        taken, named = {place for some in found for place in some}, self._named(name)
        for place in range(len(theirs)):
            left = int(place not in taken)
            self.findings.note(f"samples of `{name}` belong to no `{first}` and are left out", named(place), left)
        return found

    def _keys(self, name: str) -> list[str | None]:
        keys = self.pools[name].keys(self.pair)
        if not any(key is not None for key in keys):
            raise ValueError(
                f"`pair` must not be {self.pair!r} where samples have no {self.pair}, but those of `{name}` have none."
            )
        return keys

    def _named(self, name: str) -> Callable[[int], str]:
        known = self.pools[name].known.get("name")
        return lambda place: str(place) if known is None else str(known[place])

    def _check_counts(self, first: str, name: str) -> None:
        counts = {one: len(set(self.pools[one].numbers)) for one in (first, name)}
        if counts[first] != counts[name]:
            raise ValueError(
                f"Parts must have as many samples to be paired by index, but `{first}` has {counts[first]:,} and "
                f"`{name}` has {counts[name]:,}; nearest: `pair` 'name'."
            )
        for one in (first, name):
            if self.pools[one].num_left_out:
                raise ValueError(
                    f"Every sample must be readable to be paired by index, but {self.pools[one].num_left_out:,} of "
                    f"`{one}` are not: {self.members[one].about()}"
                )


Row = dict[str, list[int]]
"""Of one whole sample, the samples of each part's pool that may be taken; none: it lacks the part."""


class Joined(Dataset):
    """Whole samples ``{part: its sample}``; of several that belong together, always the same one.

    Args:
        pools: of the parts.
        rows: of the whole samples.
        padded: whether samples may lack a part: another one stands in, and ``present`` says so.
    """

    def __init__(self, pools: Mapping[str, Pool], rows: Sequence[Row], padded: bool = False) -> None:
        self.pools = dict(pools)
        self.rows = rows
        self.padded = padded

    @property
    def labelled(self) -> bool:
        """Whether whole samples have a label."""
        return "label" in self[0]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        index = index % len(self.rows) if -len(self.rows) <= index < len(self.rows) else index

        def read(name: str, places: Sequence[int]) -> Sample:
            sample: Sample = self.pools[name].plain[places[seeds.mix("pair", index, name) % len(places)]]
            return sample

        return self.sample(index, read)

    def sample(self, index: int, read: Callable[[str, Sequence[int]], Sample]) -> Sample:
        """A whole sample of what ``read`` gives for a part and its places in the pool."""
        if not -len(self.rows) <= index < len(self.rows):  # so that a loop over it ends
            raise IndexError(f"`index` must be below {len(self.rows)}, but is {index}.")
        row = self.rows[index]
        parts = {name: read(name, places or [0]) for name, places in row.items()}
        whole: Sample = dict(parts)
        for key in SHARED:
            whole |= next(({key: parts[name][key]} for name in row if row[name] and key in parts[name]), {})
        if self.padded:
            whole["present"] = {name: bool(places) for name, places in row.items()}
        return whole


class Drawn(Augmented):
    """Whole samples of training: of several that belong together one is drawn, then each is augmented as its own
    module says.

    Args:
        joined: the samples.
        augments: by part.
        aligned: parts whose augmentations draw the same numbers.
    """

    def __init__(
        self,
        joined: Joined,
        augments: Mapping[str, Callable[[Sample], Sample] | None],
        aligned: Sequence[str],
    ) -> None:
        super().__init__(joined)
        self.augments = dict(augments)
        self.aligned = aligned

    def __getitem__(self, key: int | tuple[int, int, int]) -> Sample:
        seed, epoch, index = key if isinstance(key, tuple) else (0, 0, key)
        joined = self.dataset
        assert isinstance(joined, Joined)

        def read(name: str, places: Sequence[int]) -> Sample:
            with seeds.seeded(seed, "pair", epoch, index, name):
                place = places[int(torch.randint(len(places), ()))]
            sample: Sample = joined.pools[name].trained[place]
            augment = self.augments[name]
            if augment is None:
                return sample
            with seeds.seeded(seed, "augment", epoch, index, "" if name in self.aligned else name):
                return augment(sample)

        return {**joined.sample(index, read), "index": index}


class CollateByPart:
    """Whole samples to a batch: each part by a collation of its own.

    Args:
        collates: by part.
        padded: whether samples may lack a part: batches of parts then say which are ``present`` ``[B]``.
    """

    def __init__(self, collates: Mapping[str, Callable[[list[Any]], Any]], padded: bool) -> None:
        self.collates = dict(collates)
        self.padded = padded

    def __call__(self, samples: list[Sample]) -> dict[str, Any]:
        batch: dict[str, Any] = {}
        for name, collate in self.collates.items():
            batch[name] = collate([sample[name] for sample in samples])
            if self.padded:
                batch[name]["present"] = torch.tensor([sample["present"][name] for sample in samples])
        whole = [key for key in (*SHARED, "index") if all(key in sample for sample in samples)]
        return batch | {key: default_collate([sample[key] for sample in samples]) for key in whole}
