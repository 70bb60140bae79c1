"""Sources: a source says which items there are, and how each is read; a data module makes samples of them.

A folder, a data set of a hub, a generator and an archive are sources. Everything else belongs to the data module:
what is held out, labels of the parts, batches, their order, resuming, and the report.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from unmask.data.findings import Findings
from unmask.data.labels import ordered
from unmask.support.remembered import Remembered

if TYPE_CHECKING:  # shards are sources
    from unmask.data.shards.order import Nearby


class Unreadable(ValueError):  # noqa: N818 (says what the item is)
    """This item cannot be used; the message says why, without the item's name."""


class Item(NamedTuple):
    """One thing of a source.

    Args:
        name: what a report calls it.
        content: what the modality reads (the path of a file, its contents, or values), or a function that gives it
            and may raise `Unreadable` or OSError. Loading processes get a copy of it.
        label: its class, by a word or by its place in `Found.classes`, `IGNORED` standing for an unknown one; or what
            is no class: a real number, or an array of numbers. None: it has no label.
        groups: further words of it by name, such as its speaker. They become keys of its sample.
    """

    name: str
    content: Any
    label: int | str | float | np.ndarray | None = None
    groups: Mapping[str, str] = {}

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its data module found out about it when it was written to a shard; empty: it must be read for that."""
        return getattr(self.content, "facts", {})

    def read(self) -> Any:
        """What the modality reads."""
        return self.content() if callable(self.content) else self.content


class Found(NamedTuple):
    """What a source has.

    Args:
        train: items to train on.
        val: items to validate and score on; None: the data module holds out a part of ``train``.
        classes: names of labels 0, 1, 2, ...; words of items that are not among them follow, numbers by value, then
            words by their letters.
        about: a sentence on the labels, for the report.
        probe: labelled items that probes are fitted on; None: those of ``train``.
    """

    train: Sequence[Item]
    val: Sequence[Item] | None = None
    classes: Sequence[str] = ()
    about: str = ""
    probe: Sequence[Item] | None = None

    @property
    def parts(self) -> list[Sequence[Item]]:
        """``train``, and ``val`` where there is one."""
        return [self.train] if self.val is None else [self.train, self.val]

    @classmethod
    def of(cls, parts: Iterable[Sequence[Item]], classes: Sequence[str] = (), about: str = "") -> Found:
        """Of `parts`."""
        train, *others = parts
        return cls(train, others[0] if others else None, classes, about)

    def numbered(self) -> Found:
        """With ``classes`` whole, and labels that are places in them."""
        every = [*self.parts, self.probe or []]
        words = {item.label for part in every for item in part if isinstance(item.label, str)}
        classes = list(dict.fromkeys([*self.classes, *ordered(words)]))
        ids = {word: number for number, word in enumerate(classes)}
        parts = [
            [item._replace(label=ids[item.label]) if isinstance(item.label, str) else item for item in part]
            for part in every
        ]
        *parts, probe = parts
        return Found.of(parts, classes, self.about)._replace(probe=None if self.probe is None else probe)


class Stream(NamedTuple):
    """Items as they come: they can be written to shards, but not trained on, for no place in them can be asked for.

    Args:
        parts: by name, items from the n-th on, each time in the same order.
        classes: names of labels 0, 1, 2, ...; empty: labels are words or numbers.
        same: tells this data from other data, as JSON has it.
        told: what to say once they are written.
    """

    parts: Mapping[str, Callable[[int], Iterator[Item]]]
    classes: Sequence[str]
    same: Any
    told: str


class Origin(Remembered):
    """Where data comes from, whatever a data module reads of it: items, running text, graphs.

    Most are dataclasses, whose fields are their options.
    """

    def prepare(self) -> None:
        """Downloads what is missing; called on one process, before all others read."""


class Source(Origin, ABC):
    """Where a data module's items come from. A source fits every module that reads what its items give.

    A source has a length: `held_out` and the keyed order of an epoch need one. So have shards (`Shards`), whose index
    says what they hold.
    """

    kind: ClassVar[str | None] = None
    """What a report calls the items, such as ``synthetic sounds``; None: what the data module calls them."""

    @abstractmethod
    def read(self, findings: Findings) -> Found:
        """Which items there are; called once, on every device's process.

        Args:
            findings: is told of what is odd.

        Raises:
            ValueError: there is no such data.
        """

    def stream(self, findings: Findings) -> Stream | None:
        """Items as they come, where `read` cannot say how many there are; None: it can.

        Args:
            findings: is told of what is odd.

        Raises:
            ValueError: there is no such data.
        """
        return None

    def nearby(self, contents: Sequence[Any]) -> Nearby | None:
        """Which samples lie together, so that an epoch's order keeps them near; None: it does not matter.

        Args:
            contents: of the samples' items ``[n]``.
        """
        return None
