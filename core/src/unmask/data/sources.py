"""Sources: a source says which items there are, and how each is read; a data module makes samples of them.

A folder, a data set of a hub, a generator and an archive are sources. Everything else belongs to the data module:
what is held out, labels of the parts, batches, their order, resuming, and the report.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from unmask.data.findings import Findings
from unmask.data.module import Remembered


class Unreadable(ValueError):  # noqa: N818 (says what the item is)
    """This item cannot be used; the message says why, without the item's name."""


class Item(NamedTuple):
    """One thing of a source, which is still to be read.

    Args:
        name: what a report calls it.
        read: gives what the modality reads: the path of a file, its contents, or values. May raise `Unreadable` or
            OSError. Loading processes get a copy of it.
        label: the number of its class; None: it has none.
        groups: further words of it by name, such as its speaker. They become keys of its sample.
    """

    name: str
    read: Callable[[], Any]
    label: int | None = None
    groups: Mapping[str, str] = {}


class Found(NamedTuple):
    """What a source has.

    Args:
        train: items to train on.
        val: items to validate and score on; None: the data module holds out a part of ``train``.
        classes: names of labels 0, 1, 2, ...
    """

    train: Sequence[Item]
    val: Sequence[Item] | None = None
    classes: Sequence[str] = ()


class Source(Remembered, ABC):
    """Where a data module's items come from. Any source fits any module that reads what its items give.

    A source has a length: `held_out` and the keyed order of an epoch need one. A stream has none. It would be a class
    of its own beside `Found`, which gives items by shard, and a data module that takes it would order shards instead
    of items; `prepare`, `Item` and `Findings` would serve both.
    """

    kind: ClassVar[str | None] = None
    """What a report calls the items, such as ``synthetic sounds``; None: what the data module calls them."""

    def prepare(self) -> None:
        """Downloads what is missing; called on one process, before all others read."""

    @abstractmethod
    def read(self, findings: Findings) -> Found:
        """Which items there are; called once, on every device's process.

        Args:
            findings: is told of what is odd.

        Raises:
            ValueError: there is no such data.
        """


def as_given(value: Any) -> Any:
    """``value`` itself. ``partial(as_given, path)`` is an item's ``read`` that loading processes can copy."""
    return value
