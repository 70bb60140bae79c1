"""Rows of a data set of the library `datasets` as they come, never all at once: to be written to shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from unmask.data.findings import Findings
from unmask.data.hub import chosen_splits, open_splits
from unmask.data.sources import Item, Stream, Unreadable

IN_ORDER = "Rows are written in the order of the stream, which cannot be shuffled; an epoch mixes shards of a window."


def hub_stream(source: Any, findings: Findings) -> Stream:
    """What ``unmask shard`` writes of a source with ``streaming``.

    Args:
        source: the rows, a `HubSource`.
        findings: is told of what is odd.

    Raises:
        ValueError: no such data set, split or column, or columns whose kinds the data set does not tell.
    """
    splits = open_splits(source.name, source.config, source.needed_by, streaming=True)
    chosen = dict(zip(("train", "val"), chosen_splits(splits, source.split, source.val_split), strict=True))
    parts = {part: splits[name] for part, name in chosen.items() if name is not None}
    for part, rows in parts.items():
        if not hasattr(rows, "state_dict"):
            raise ValueError(
                f"`streaming` must be left out for a data set that lies on this machine already, but {source.name!r} "
                "is one that `save_to_disk` has written."
            )
        if rows.features is None:
            raise ValueError(
                f"`streaming` must be left out where a data set does not tell what its columns hold, as Parquet does, "
                f"but {source.name!r} has such a split, {chosen[part]!r}."
            )
    column, label, group = source.columns(parts["train"].features)
    for rows in list(parts.values())[1:]:
        source.check_alike(parts["train"], rows, [name for name in (column, label, group) if name is not None])
    read, classes = source.label_reader(parts["train"].features, label)
    made = {part: partial(_items, source, rows, column, label, read, group) for part, rows in parts.items()}
    told = [[name, str(getattr(parts[part].info, "version", ""))] for part, name in chosen.items() if part in parts]
    return Stream(made, classes, told, IN_ORDER)


def _items(
    source: Any, rows: Any, column: str, label: str | None, read: Callable[[Any], Any], group: str | None,
    start: int,
) -> Iterator[Item]:  # fmt: skip
    """Items from the ``start``-th row on; one of them is held at a time."""
    import datasets

    names = [name for name in dict.fromkeys((column, label, group)) if name is not None]
    feature = rows.features[column]
    held = rows.select_columns(names).cast_column(column, getattr(datasets, source.feature)(decode=False))
    for number, row in enumerate(held.skip(start), start):
        groups = {} if group is None else {group: str(row[group])}
        content = partial(_content, source, row[column], feature)
        yield Item(f"row {number}", content, None if label is None else read(row[label]), groups)


def _content(source: Any, held: dict[str, Any] | None, feature: Any) -> Any:
    if held is None or (held["bytes"] is None and held["path"] is None):
        raise Unreadable(f"the row has no {source.item}")
    if held["bytes"] is None and not Path(held["path"]).is_file():  # of a folder behind a URL
        import fsspec

        with fsspec.open(held["path"], "rb") as file:
            return BytesIO(file.read())
    return source.opened(held, feature)
