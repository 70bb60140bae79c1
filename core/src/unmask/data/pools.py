"""Pools: all samples of a data module with what is known of each, so that modules can be joined sample by sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch.utils.data import ConcatDataset, Dataset


class Pool(NamedTuple):
    """All samples of a data module that are trained or validated on, each once.

    Args:
        trained: samples as they are trained on, before augmentation.
        plain: the same, as they are validated on.
        numbers: which thing of the source each is of, in its order: two windows of a sound have the same number.
        held: which of them the module holds out.
        known: by ``name`` and ``label``, that of each sample where it is known without reading it; None: it has none.
        classes: words that labels stand for; empty: labels are words or numbers themselves.
        num_left_out: things of the source that cannot be used, so that numbers are not those of other sources.
    """

    trained: Dataset
    plain: Dataset
    numbers: Sequence[int]
    held: Sequence[bool]
    known: Mapping[str, Sequence[Any]] = {}
    classes: Sequence[str] = ()
    num_left_out: int = 0

    @classmethod
    def of(cls, parts: Sequence[Dataset], classes: Sequence[str] = ()) -> Pool:
        """Of samples to train on and, where these are others, samples to validate on."""
        whole: Dataset = ConcatDataset(parts)
        held = [place > 0 for place, part in enumerate(parts) for _ in range(len(part))]  # type: ignore[arg-type]
        return cls(whole, whole, range(len(held)), held, classes=classes)

    def keys(self, what: str) -> list[str | None]:
        """The ``name`` of each sample, or the word of its ``label``; None: it has none.

        Raises:
            ValueError: labels are no single class.
        """
        known = self.known.get(what)
        if known is None:
            known = [self.plain[place].get(what) for place in range(len(self.held))]
        return [_word(one, self.classes if what == "label" else ()) for one in known]


def _word(given: Any, classes: Sequence[str]) -> str | None:
    if given is None or isinstance(given, str):
        return given
    if getattr(given, "ndim", 0) or isinstance(given, float):
        raise ValueError(f"`pair` must not be 'label' where labels are no single class, but one is {given!r:.60}.")
    number = int(given)
    if number < 0:  # unknown
        return None
    return classes[number] if number < len(classes) else str(number)
