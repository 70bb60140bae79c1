"""The rows of a data set of the library `datasets` as a source: one column of files, one of labels, one of groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from unmask.data.findings import Findings
from unmask.data.hub import chosen_splits, open_splits
from unmask.data.labels import check_single, one_label
from unmask.data.sources import Found, Item, Source, Unreadable
from unmask.support.nearest import nearest

NO_LABEL = "columns are called like labels but hold no single one, and are not read"


@dataclass
class HubSource(Source):
    """Rows of a data set; an item gives the path of its file, or its contents, for the modality to decode.

    Args:
        name: a data set's name, a folder written by ``save_to_disk``, or anything else that ``datasets.load_dataset``
            takes.
        config: its configuration, where it has several.
        split: part to train on.
        val_split: part to validate and score on; None: ``validation``, ``val``, ``valid`` or ``test``, the first that
            there is, else the data module holds out a part of ``split``.
        column: of files; None: the first of the feature.
        label_column: a column of class labels, numbers or words, one for each row; None: the first of class labels,
            or one of numbers or words named ``label`` or ``labels``; none at all when there is no such column.
        group_column: a column that becomes a group of the item; None: none does.
        feature: the class of `datasets` for such files: ``Audio``, ``Image``. Messages call the column
            ``audio_column``, ``image_column``.
        item: what a row is, in a message.
        needed_by: the registered name of the data module, in a message.

    Raises:
        ValueError: in `read`, no such data set, split or column, a column of several labels for each row or of no
            files, parts that differ in columns or classes, or `datasets` is not installed.
    """

    name: str
    config: str | None = None
    split: str = "train"
    val_split: str | None = None
    column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    feature: str = "Audio"
    item: str = "sound"
    needed_by: str = "unmask.data.HubSource"

    def read(self, findings: Findings) -> Found:
        splits = open_splits(self.name, self.config, self.needed_by)
        parts = [splits[name] for name in chosen_splits(splits, self.split, self.val_split) if name is not None]
        column, label, group = self._columns(parts[0].features)
        for rows in parts[1:]:
            _check_alike(parts[0], rows, [name for name in (column, label, group) if name is not None])
        for name in ("label", "labels"):
            findings.note(NO_LABEL, name, int(label is None and name in parts[0].features))
        classes = [] if label is None else self._classes(parts, label, findings)
        return Found.of((self._items(rows, column, label, group) for rows in parts), classes)

    def _columns(self, features: Any) -> tuple[str, str | None, str | None]:
        """Names of the columns of files, labels and groups."""
        kinds = {name: type(feature).__name__ for name, feature in features.items()}
        own = f"{self.feature.lower()}_column"
        column, label, group = self.column, self.label_column, self.group_column
        for option, name in ((own, column), ("label_column", label), ("group_column", group)):
            if name is not None and name not in kinds:
                near = nearest(name, kinds, 1) or list(kinds)
                raise ValueError(f"`{option}` must name a column, but is {name!r}; nearest: {', '.join(near)}.")
        likely = [name for name, kind in kinds.items() if kind == self.feature]
        if column is None and not likely:
            raise ValueError(f"The data set must have a column of {self.item}s, but has only {', '.join(kinds)}.")
        if column is not None and not self._holds_files(features[column]):
            raise ValueError(
                f"`{own}` must name a column of {self.item}s, but {column!r} is one of {features[column]}"
                f"{'; nearest: ' + ', '.join(likely) if likely else ''}."
            )
        labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
        labels += [name for name in ("label", "labels") if _is_single(features.get(name))]
        if label is not None and not _is_single(features[label]):
            raise ValueError(
                f"`label_column` must hold one label for each {self.item}, but {label!r} is a column of "
                f"{features[label]}{'; nearest: ' + ', '.join(labels) if labels else ''}."
            )
        return column or likely[0], label or (labels[0] if labels else None), group

    def _holds_files(self, feature: Any) -> bool:
        """Whether a column is of the feature, or of files as `datasets` writes them: contents and paths, or paths."""
        inside = set(feature) if isinstance(feature, dict) else set()
        is_path = getattr(feature, "dtype", "") == "string"
        return type(feature).__name__ == self.feature or inside == {"bytes", "path"} or is_path

    def _classes(self, parts: list[Any], label: str, findings: Findings) -> list[str]:
        """The names of class labels, or labels without names as words, in their own order: of numbers, by value."""
        named = getattr(parts[0].features[label], "names", None)
        if named is not None:
            return list(named)
        values = {value for rows in parts for value in rows.unique(label) if self._word(value) is not None}
        words = list(dict.fromkeys(str(self._word(value)) for value in sorted(values)))
        check_single(words, f"`label_column` {label!r}", findings, self.item)
        return words

    def _items(self, rows: Any, column: str, label: str | None, group: str | None) -> list[Item]:
        """One per row; its file is fetched when it is read."""
        import datasets

        files = rows.select_columns([column]).cast_column(column, getattr(datasets, self.feature)(decode=False))
        labels = [None] * len(rows) if label is None else rows[label]
        groups = [{}] * len(rows) if group is None else [{group: str(word)} for word in rows[group]]
        names = None if label is None else getattr(rows.features[label], "names", None)

        def word_of(value: Any) -> str | None:
            if names is None:
                return self._word(value)
            return None if value is None or value < 0 else names[value]  # -1 is what `datasets` has for no class

        return [
            Item(f"row {row}", partial(_file, files, row, column, self.item), word_of(value), words)
            for row, (value, words) in enumerate(zip(labels, groups, strict=True))
        ]

    def _word(self, value: Any) -> str | None:
        return one_label(value, "`label_column`", self.item)


def _file(rows: Any, row: int, column: str, item: str) -> Path | BytesIO:
    held = rows[row][column]
    if held is None or (held["bytes"] is None and held["path"] is None):
        raise Unreadable(f"the row has no {item}")
    return Path(held["path"]) if held["bytes"] is None else BytesIO(held["bytes"])


def _is_single(feature: Any) -> bool:
    """Whether a column has one class, word or number in each row."""
    kind, dtype = type(feature).__name__, str(getattr(feature, "dtype", ""))
    return kind == "ClassLabel" or (kind == "Value" and dtype.startswith(("int", "uint", "float", "string", "bool")))


def _check_alike(train: Any, val: Any, columns: list[str]) -> None:
    """Refuses a part to validate on that lacks a column, or whose classes are others.

    Raises:
        ValueError: it does.
    """
    for name in columns:
        if name not in val.features:
            raise ValueError(f"`val_split` must have the columns of `split`, but has no {name!r}.")
        own, other = (getattr(rows.features[name], "names", None) for rows in (train, val))
        if own != other:
            raise ValueError(
                f"`val_split` must have the classes of `split` in column {name!r}, but has {other} and not {own}."
            )
