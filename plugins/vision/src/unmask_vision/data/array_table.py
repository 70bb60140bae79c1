"""Labels of the images of an array from a table: a row for each image in their order, or found by an id."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from unmask.data import (
    Findings,
    Found,
    Item,
    TableFormat,
    check_label_options,
    label_of,
    labels_of,
    open_table,
)

UNKNOWN = "rows of `table` are of no image"
WITHOUT = "images have no row in `table`"


class Row(NamedTuple):
    """What a table tells of an image.

    Args:
        cell: of its label, or several where that is spread over columns.
        group: a word; empty: none is known.
    """

    cell: Any
    group: str


@dataclass(frozen=True)
class ArrayTable:
    """How a table tells of images; the fields are options of `ArraysData`, which says what they mean.

    Raises:
        ValueError: another kind of labels, several columns of one label, or an option that nothing reads.
    """

    table: str | None = None
    val_table: str | None = None
    id_column: str | None = None
    id_key: str | None = None
    label_column: str | list[str] = "label"
    group_column: str | None = None
    label_kind: Literal["class", "multi-label", "number", "numbers"] = "class"
    label_separator: str | None = None
    table_format: TableFormat | None = None

    def __post_init__(self) -> None:
        check_label_options(self.label_kind, self.label_column, self.label_separator)
        for field in fields(self):
            given = getattr(self, field.name)
            if self.table is None and given != field.default:
                raise ValueError(f"`{field.name}` must be left out without `table`, but is {given!r}.")
        if self.id_key is not None and self.id_column is None:
            raise ValueError(f"`id_key` must be left out without `id_column`, but is {self.id_key!r}.")

    def told(self, parts: list[list[Item]], ids: list[list[str]], findings: Findings) -> Found:
        """The images with their labels and groups.

        Args:
            parts: images to train on, and those to validate on where there are any.
            ids: of each, their numbers where there is no ``id_key``.
            findings: is told of rows and images that do not fit.

        Raises:
            ValueError: a table that cannot be read, that lacks a column, or that has another number of rows, several
                for one image or no label; labels that are none of their kind.
        """
        assert self.table is not None
        if self.val_table is None and self.id_key is not None:  # one table tells of both parts
            rows = self._rows("table", self.table, [*chain(*ids)], findings)
        else:
            rows = self._rows("table", self.table, ids[0], findings)
            if len(parts) > 1:
                rows += self._rows("val_table", self.val_table, ids[1], findings)
        columns = [] if isinstance(self.label_column, str) else self.label_column
        holder = f"{', '.join(columns) if columns else f'`{self.label_column}`'} of `table`"
        cells = [None if row is None else row.cell for row in rows]
        labels, classes = labels_of(
            cells, self.label_kind, holder, findings, "image", columns, self.label_separator
        )  # fmt: skip
        if all(label is None for label in labels):
            raise ValueError(f"`table` must tell the label of an image, but {Path(self.table).name} tells none.")
        label, groups = iter(labels), map(self._groups, rows)
        told = [[item._replace(label=next(label), groups=next(groups)) for item in part] for part in parts]
        return Found.of(told, classes)

    def _groups(self, row: Row | None) -> dict[str, str]:
        return {} if self.group_column is None else {self.group_column: "" if row is None else row.group}

    def _rows(self, option: str, file: str | None, ids: list[str], findings: Findings) -> list[Row | None]:
        """The row of each image; none without a table."""
        if file is None:
            return [None] * len(ids)
        path = Path(file).expanduser()
        names = [self.label_column] if isinstance(self.label_column, str) else self.label_column
        found: dict[str, Row] = {}
        try:
            with open_table(path, findings, self.table_format or TableFormat()) as table:
                own = None if self.id_column is None else table.column("id_column", self.id_column)
                columns = [table.column("label_column", name) for name in names]
                group = None if self.group_column is None else table.column("group_column", self.group_column)
                for number, fields_of in enumerate(table.rows):
                    cells = [fields_of[column] for column in columns]
                    row = Row(
                        cells[0] if isinstance(self.label_column, str) else cells,
                        "" if group is None else label_of(fields_of[group]) or "",
                    )
                    key = str(number) if own is None else label_of(fields_of[own]) or ""
                    if found.setdefault(key, row) != row:
                        raise ValueError(
                            f"`{option}` must have one row for each image, but {path.name} has two for {key!r}."
                        )
        except OSError as error:
            raise ValueError(
                f"`{option}` must be a table, such as a CSV file, but {path} cannot be read: {error.strerror or error}."
            ) from error
        if self.id_column is None and len(found) != len(ids):
            raise ValueError(
                f"`{option}` must have a row for each of the {len(ids):,} images, but {path.name} has {len(found):,}; "
                "or name its `id_column`."
            )
        wanted = set(ids)
        for key in found:
            findings.note(UNKNOWN, key, int(key not in wanted))
        for key in ids:
            findings.note(WITHOUT, key, int(key not in found))
        return [found.get(key) for key in ids]


NO_TABLE = ArrayTable()
