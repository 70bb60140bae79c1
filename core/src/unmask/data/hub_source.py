"""The rows of a data set of the library `datasets` as a source: one column of files, one of labels, one of groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from unmask.data.findings import Findings
from unmask.data.hub import chosen_splits, open_splits
from unmask.data.hub_stream import hub_stream
from unmask.data.labels import check_single, one_label
from unmask.data.sources import Found, Item, Source, Stream, Unreadable
from unmask.support.nearest import nearest

NO_LABEL = "columns are called like labels but hold no single one, and are not read"

Labels = tuple[Sequence[Sequence[Any]], Sequence[str], str]
"""Of the rows of each part, as `Item` has them; names of classes and a sentence on labels, as `Found` has them."""


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
        streaming: read rows as they are asked for, without storing a copy: for ``unmask shard`` alone.

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
    streaming: bool = False

    def read(self, findings: Findings) -> Found:
        if self.streaming:
            raise ValueError(
                f"`streaming` must be left out of `{self.needed_by}` except for `unmask shard`, since a stream gives "
                "no sample by its number, so that neither its order nor resuming nor each process's share is exact: "
                f"write it to shards first, by `unmask shard --data {self.needed_by} --data.streaming true`."
            )
        splits = open_splits(self.name, self.config, self.needed_by)
        parts = [splits[name] for name in chosen_splits(splits, self.split, self.val_split) if name is not None]
        column, label, group = self.columns(parts[0].features)
        for rows in parts[1:]:
            self.check_alike(parts[0], rows, [name for name in (column, label, group) if name is not None])
        for name in ("label", "labels"):
            findings.note(NO_LABEL, name, int(label is None and name in parts[0].features))
        labels, classes, about = self.labels(parts, label, findings)
        items = [self._items(rows, column, own, group) for rows, own in zip(parts, labels, strict=True)]
        return Found.of(items, classes, about)

    def takes(self, feature: Any) -> bool:
        """Whether a column may hold labels: here one class, word or number in each row."""
        kind, dtype = type(feature).__name__, str(getattr(feature, "dtype", ""))
        single = ("int", "uint", "float", "string", "bool")
        return kind == "ClassLabel" or (kind == "Value" and dtype.startswith(single))

    def labels(self, parts: list[Any], column: str | None, findings: Findings) -> Labels:
        """Reads class labels by their names, and labels without names as words, in order of their values."""
        if column is None:
            return [[None] * len(rows) for rows in parts], [], ""
        cells = [rows[column] for rows in parts]
        names = getattr(parts[0].features[column], "names", None)
        if names is not None:  # -1 is what `datasets` has for no class
            return [[None if cell is None or cell < 0 else names[cell] for cell in own] for own in cells], names, ""
        labels = [[self._word(cell) for cell in own] for own in cells]
        words = {cell: word for own in zip(cells, labels, strict=True) for cell, word in zip(*own, strict=True)}
        known = sorted(cell for cell, word in words.items() if word is not None)
        classes = list(dict.fromkeys(str(words[cell]) for cell in known))
        check_single(classes, f"`label_column` {column!r}", findings, self.item)
        return labels, classes, ""

    def stream(self, findings: Findings) -> Stream | None:
        return hub_stream(self, findings) if self.streaming else None

    def label_reader(self, features: Any, column: str | None) -> tuple[Callable[[Any], Any], Sequence[str]]:
        """What makes a label of a cell of a stream, and names of classes, as `labels` does of all cells at once."""
        names = None if column is None else getattr(features[column], "names", None)
        if names is None:
            return self._word, []
        return lambda cell: None if cell is None or cell < 0 else cell, names

    def opened(self, held: dict[str, Any], feature: Any) -> Any:
        """What the modality reads of a file: its path, or its contents."""
        return Path(held["path"]) if held["bytes"] is None else BytesIO(held["bytes"])

    def columns(self, features: Any) -> tuple[str, str | None, str | None]:
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
        labels += [name for name in ("label", "labels") if self.takes(features.get(name))]
        if label is not None and not self.takes(features[label]):
            raise ValueError(
                f"`label_column` must hold one label for each {self.item}, but {label!r} is a column of "
                f"{features[label]}{'; nearest: ' + ', '.join(labels) if labels else ''}."
            )
        return column or likely[0], label or (labels[0] if labels else None), group

    @staticmethod
    def check_alike(train: Any, val: Any, columns: list[str]) -> None:
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

    def _holds_files(self, feature: Any) -> bool:
        """Whether a column is of the feature, or of files as `datasets` writes them: contents and paths, or paths."""
        inside = set(feature) if isinstance(feature, dict) else set()
        is_path = getattr(feature, "dtype", "") == "string"
        return type(feature).__name__ == self.feature or inside == {"bytes", "path"} or is_path

    def _items(self, rows: Any, column: str, labels: Sequence[Any], group: str | None) -> list[Item]:
        """One per row; its file is fetched when it is read."""
        import datasets

        files = rows.select_columns([column]).cast_column(column, getattr(datasets, self.feature)(decode=False))
        groups = [{}] * len(rows) if group is None else [{group: str(word)} for word in rows[group]]
        return [
            Item(f"row {row}", partial(self._file, files, row, rows.features[column]), label, words)
            for row, (label, words) in enumerate(zip(labels, groups, strict=True))
        ]

    def _file(self, files: Any, row: int, feature: Any) -> Any:
        (held,) = files[row].values()
        if held is None or (held["bytes"] is None and held["path"] is None):
            raise Unreadable(f"the row has no {self.item}")
        return self.opened(held, feature)

    def _word(self, value: Any) -> str | None:
        return one_label(value, "`label_column`", self.item)
