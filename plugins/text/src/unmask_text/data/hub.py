"""Text from the `datasets` library: by name, or from a folder that it has written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

from unmask.data import CLASS, MULTI_LABEL, NUMBERS, check_label_options, chosen_splits, columns_in, open_splits
from unmask_text.data.fields import Columns, Row
from unmask_text.data.reading import UNLABELLED, Segment, documents_of
from unmask_text.data.report import Report
from unmask_text.data.sources import Moved, TextSource
from unmask_text.data.text import TextData

_BATCH = 256


class HubTextData(TextData):
    """Documents from the rows of a data set.

    Args:
        name: a data set's name, a folder written by ``save_to_disk``, or anything else that
            ``datasets.load_dataset`` takes.
        config: its configuration, where it has several.
        split: part to pretrain on.
        val_split: part to validate and score on; None: ``validation``, ``val``, ``valid`` or ``test``, the
            first that there is, else a fixed random part of ``split``.
        text_column: None: ``text``, or the only column. ``meta.body.text`` is inside of others; objects of an array on
            the way to it are a document each.
        label_column: the column of labels, likewise inside of others, None where a row has none; None: the first column
            of class labels, or ``label``; no labels when there is neither, or it holds lists where they are classes.
        label_kind: what labels are taken for: ``class``, ``multi-label`` (words with a comma, semicolon or bar between
            them, or a list), ``number`` or ``numbers`` (likewise), see `unmask.data.labels_of`.
        label_separator: between several labels of a document; None: the first of comma, semicolon and bar that there
            is.
        streaming: read the data set over the network while cutting it into tokens, without storing a copy.

    Raises:
        ValueError: a value outside its range; in `setup`, no such data set, split or column, or
            `datasets` is not installed, or labels that are no single values.

    Further arguments are those of `TextData`.
    """

    def __init__(
        self,
        name: str,
        config: str | None = None,
        split: str = "train",
        val_split: str | None = None,
        text_column: str | None = None,
        label_column: str | None = None,
        label_kind: Literal["class", "multi-label", "number", "numbers"] = "class",
        label_separator: str | None = None,
        streaming: bool = False,
        **shared: Any,
    ) -> None:
        source = HubTextSource(
            name, config=config, split=split, val_split=val_split, text_column=text_column, label_column=label_column,
            label_kind=label_kind, label_separator=label_separator, streaming=streaming,
        )  # fmt: skip
        super().__init__(source=source, **shared)


@dataclass
class HubTextSource(TextSource):
    """Those rows; the fields are options of `HubTextData`."""

    name: str
    config: str | None = None
    split: str = "train"
    val_split: str | None = None
    text_column: str | None = None
    label_column: str | None = None
    label_kind: Literal["class", "multi-label", "number", "numbers"] = "class"
    label_separator: str | None = None
    streaming: bool = False

    label_option: ClassVar[str] = "label_column"

    def __post_init__(self) -> None:
        check_label_options(self.label_kind, separator=self.label_separator)

    def parts(self) -> dict[str, dict[str, Any]]:
        parts = {}
        options = {"label_kind": self.label_kind, "label_separator": self.label_separator}
        for part, split in zip(("train", "val"), chosen_splits(self.splits, self.split, self.val_split), strict=True):
            if split is None:
                continue
            rows = self.splits[split]
            same = getattr(rows, "_fingerprint", None) or str(getattr(rows.info, "version", ""))
            parts[part] = {
                "name": self.name, "config": self.config, "split": split, "fingerprint": same,
                "text": self.text_column, "label": self.label_column,
            }  # fmt: skip
            if self.label_kind != CLASS:  # vocabularies of versions that knew no other are found again
                parts[part]["options"] = options
        return parts

    def read(self, part: dict[str, Any], report: Report, moved: Moved) -> Iterator[Segment]:
        rows = self.splits[part["split"]]
        known = {name: leaf for key, feature in (rows.features or {}).items() for name, leaf in _leaves(key, feature)}
        many = {name: leaf.many for name, leaf in known.items()}
        tops = list(rows.features or {})
        if not tops:  # a stream may only tell by its first row
            first = next(iter(rows))
            many, tops = dict(columns_in(first)), list(first)
        label = self.label_column or self._likely(known, many, report)
        where = f"the split {part['split']!r}"
        columns = Columns.of(many, self.text_column, label, report.findings, where, self.label_option)
        held = rows.select_columns(columns.held(tops))
        names = known[columns.label].names if columns.label in known else []
        total = len(held) if hasattr(held, "__len__") else 0
        documents = documents_of(
            ((columns, row) for row in _rows(held, total, moved)), self.label_kind, report,
            option=self.label_option, names=names,
        )  # fmt: skip
        for segment in documents:
            report.findings.note(UNLABELLED, count=int(bool(columns.label) and segment.first and segment.label is None))
            yield segment._replace(file=part["split"])

    def _likely(self, known: Mapping[str, _Leaf], names: Iterable[str], report: Report) -> str | None:
        """The column of labels where none is named: the first of class labels, or ``label`` or ``labels``."""
        several = self.label_kind in (MULTI_LABEL, NUMBERS)
        likely = [name for name, leaf in known.items() if leaf.names and (several or not leaf.listed)]
        likely += [name for name in ("label", "labels") if name in names]
        if not likely:
            if self.label_kind != CLASS:
                raise ValueError(
                    f"`label_column` must name a column where `label_kind` is {self.label_kind!r}, but is None."
                )
            return None
        if likely[0] in known and known[likely[0]].listed and not several:
            report.findings.note(
                "columns of labels hold lists, which are no classes: documents have no label", likely[0]
            )
            return None
        return likely[0]

    @cached_property
    def splits(self) -> Mapping[str, Any]:
        """All splits of the data set by their names, opened when first asked for."""
        return open_splits(self.name, self.config, "text.datasets", self.streaming)


class _Leaf(NamedTuple):
    """What is known of a column that is no object.

    Args:
        many: whether an array is on the way to it.
        listed: whether it holds lists.
        names: of its classes, where it has some.
    """

    many: bool
    listed: bool
    names: list[str]


def _leaves(name: str, feature: Any, many: bool = False) -> Iterator[tuple[str, _Leaf]]:
    """What is inside of a column, by dotted names."""
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
    listed = inner is not feature
    if isinstance(inner, dict):
        for key, own in inner.items():
            yield from _leaves(f"{name}.{key}", own, many or listed)
    else:
        yield name, _Leaf(many, listed, list(getattr(inner, "names", None) or []))


def _rows(rows: Any, total: int, moved: Moved) -> Iterator[Row]:
    number = 0
    for batch in rows.iter(batch_size=_BATCH):
        for values in zip(*batch.values(), strict=True):
            number += 1
            yield number, dict(zip(batch, values, strict=True))
        moved(number / total if total else 0)
