"""Rows of Arrow at the end of LitData's chunks."""

from __future__ import annotations

from typing import Any

from unmask.data.sources import Unreadable


def arrow_value(content: Any, name: str, item: int) -> Any:
    """A value of a column, as Python has it.

    Args:
        content: of the chunk, as a buffer.
        name: of the column.
        item: its number in the chunk.

    Raises:
        Unreadable: there are no such rows, or they are damaged.
    """
    from litdata.streaming.item_loader import open_arrow_footer_reader

    opened = open_arrow_footer_reader(content)
    if opened is None:
        raise Unreadable("it is empty, and no rows of Arrow follow")
    try:
        for rows in _batches(*opened):
            if item < rows.num_rows:
                column = rows.column(name)
                column.validate(full=True)  # or numbers in it may lead elsewhere
                return column[item].as_py()
            item -= rows.num_rows
    except Exception as error:  # Arrow has many kinds
        raise Unreadable(f"damaged rows of Arrow: {str(error).splitlines()[0] if str(error) else error!r}") from error
    raise Unreadable("there are fewer rows of Arrow than items")


def _batches(reader: Any, is_file: bool) -> Any:
    """Stretches of rows; those of a file are read when they are asked for."""
    return map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
