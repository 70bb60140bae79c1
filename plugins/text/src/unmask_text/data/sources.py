"""Sources of text: a source says which parts a corpus has, and reads each from its first document to its last."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from unmask.data import Origin
from unmask_text.data.reading import Segment
from unmask_text.data.report import Report

Moved = Callable[[float], None]


class TextSource(Origin, ABC):
    """Where the documents of `TextData` come from. They are read in their order, so a corpus may exceed the memory."""

    label_option: ClassVar[str] = "labels"
    """The option that names the column of labels, in messages."""

    @abstractmethod
    def parts(self) -> dict[str, dict[str, Any]]:
        """By name (``train``; ``val``, ``probe_train`` and ``probe_test`` where there are any) what `read` needs.

        Tokens are kept under the JSON of this, so it must change when the text does. A vocabulary is kept, too, where
        only ``named``, ``names`` or ``findings`` change.
        """

    @abstractmethod
    def read(self, part: dict[str, Any], report: Report, moved: Moved) -> Iterator[Segment]:
        """The segments of one part.

        Args:
            part: one of `parts`.
            report: counts what is odd.
            moved: called with the share that is read, in [0, 1].
        """
