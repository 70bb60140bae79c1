"""Text from the `datasets` library: by name, or from a folder that it has written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from unmask.data import chosen_splits, open_splits
from unmask_text.data.fields import column_of
from unmask_text.data.reading import UNLABELLED, Segment, class_of, clean, cut
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
        text_column: None: ``text``, or the only column.
        label_column: one class per row, None where a row has none; None: the first column of class labels, or
            ``label``; no labels when there is neither, or it holds lists.
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
        streaming: bool = False,
        **shared: Any,
    ) -> None:
        source = HubTextSource(
            name, config=config, split=split, val_split=val_split, text_column=text_column, label_column=label_column,
            streaming=streaming,
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
    streaming: bool = False

    def parts(self) -> dict[str, dict[str, Any]]:
        parts = {}
        for part, split in zip(("train", "val"), chosen_splits(self.splits, self.split, self.val_split), strict=True):
            if split is None:
                continue
            rows = self.splits[split]
            same = getattr(rows, "_fingerprint", None) or str(getattr(rows.info, "version", ""))
            parts[part] = {
                "name": self.name, "config": self.config, "split": split, "fingerprint": same,
                "text": self.text_column, "label": self.label_column,
            }  # fmt: skip
        return parts

    def read(self, part: dict[str, Any], report: Report, moved: Moved) -> Iterator[Segment]:
        rows = self.splits[part["split"]]
        columns = rows.column_names
        if columns is None:  # a stream may only tell by its first row
            columns = list(next(iter(rows)))
        text = column_of(columns, "text_column", self.text_column)
        label, names = _labels(rows, columns, self.label_column, report)
        rows = rows.select_columns([text] + ([label] if label else []))
        total, done = len(rows) if hasattr(rows, "__len__") else 0, 0
        for batch in rows.iter(batch_size=_BATCH):
            for place, value in enumerate(batch[text]):
                if not isinstance(value, str):
                    report.num_unreadable_rows += 1
                    continue
                known = batch[label][place] if label else None
                if names and isinstance(known, int):
                    known = names[known] if 0 <= known < len(names) else None if known == -1 else known
                named = class_of(known, "label_column")
                report.findings.note(UNLABELLED, count=int(label is not None and named is None))
                yield from cut(clean(value, report), named, report, part["split"], done + place + 1)
            done += len(batch[text])
            moved(done / total if total else 0)

    @cached_property
    def splits(self) -> Mapping[str, Any]:
        """All splits of the data set by their names, opened when first asked for."""
        return open_splits(self.name, self.config, "text.datasets", self.streaming)


def _labels(rows: Any, columns: list[str], name: str | None, report: Report) -> tuple[str | None, list[str]]:
    """The column of labels, and the names of its classes where it has some."""
    features = rows.features or {}
    kinds = {column: type(features.get(column)).__name__ for column in columns}
    classes = [column for column, kind in kinds.items() if kind == "ClassLabel"]
    if name is not None:
        name = column_of(columns, "label_column", name)
    else:
        likely = classes + [column for column in ("label", "labels") if column in columns]
        name = likely[0] if likely else None
        if name is not None and (
            kinds[name] in ("List", "LargeList", "Sequence") or isinstance(features.get(name), list)
        ):
            report.findings.note("columns of labels hold lists, which are no classes: documents have no label", name)
            name = None
    return name, list(features[name].names) if name in classes else []
