"""Values of nodes and edges as tables of finite numbers: what is missing is refused or filled, by one rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unmask.data import Findings

Missing = Literal["refuse", "zero", "mean", "indicator"]
FILLS = {
    "zero": "have gaps, which became 0",
    "mean": "have gaps, which became the mean of their column",
    "indicator": "have gaps, which became the mean of their column; one more column for each says where (1: missing)",
}
"""What `fill` does with values that are missing, as it is told."""


def table_of(values: Any, what: str, name: str) -> Tensor:
    """Float32 ``[n, F]`` of numbers that may not be finite.

    Raises:
        ValueError: another shape, no column, or complex numbers.
    """
    tensor = values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))
    if tensor.is_complex():
        raise ValueError(f"{what} of {name} must be real numbers, but are {tensor.dtype}.")
    tensor = (tensor.to_dense() if tensor.layout != torch.strided else tensor).float()
    tensor = tensor[:, None] if tensor.ndim == 1 else tensor
    if tensor.ndim != 2 or tensor.shape[1] == 0:
        raise ValueError(
            f"{what} of {name} must be a table with at least one column, but its shape is {tuple(tensor.shape)}."
        )
    return tensor


def finite(values: Any, what: str, name: str, columns: Sequence[str] = (), rows: Sequence[str] | None = None) -> Tensor:
    """Float32 ``[n, F]`` of finite numbers.

    Args:
        values: the table.
        what: it holds, in a message.
        name: what it is of, in a message.
        columns: their names; empty: they are called by their numbers.
        rows: their names; None: they are called by their numbers.

    Raises:
        ValueError: as `table_of`, or a number that is not finite.
    """
    tensor = table_of(values, what, name)
    wrong = (~tensor.isfinite()).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        # Rows of people's own tables count from 1, those of tensors from 0.
        place = f"node {rows[row]!r:.60}" if rows is not None else f"row {row + 1 if columns else row}"
        found = tensor[row, column].item()
        told = "no number" if columns and found != found else found
        more = f" (and {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        raise ValueError(
            f"{what} of {name} must be finite, but {place} has {told} in column "
            f"{f'`{columns[column]}`' if columns else column}{more}; to fill them, set `missing` to mean, indicator or "
            "zero."
        )
    return tensor


def fill(
    tables: Sequence[Tensor], columns: Sequence[str], how: str, what: str, findings: Findings
) -> tuple[list[Tensor], list[str]]:
    """Tables ``[n, F]`` with a number for each that is not finite; the mean of a column is that of all tables.

    Args:
        tables: of one width F.
        columns: their names; empty: they have none.
        how: ``zero``, ``mean``, or ``indicator``: the mean, and one more column for each that has gaps.
        what: they hold, in what is told.
        findings: is told of each column with gaps.

    Returns:
        The tables, and the names of their columns.
    """
    if not tables:
        return [*tables], [*columns]
    known = [table.isfinite() for table in tables]
    gaps = torch.stack([(~one).sum(0) for one in known]).sum(0)  # [F]
    with_gaps = gaps.nonzero()[:, 0].tolist()
    if not with_gaps:
        return [*tables], [*columns]
    named = [*columns] or [str(number) for number in range(len(gaps))]
    for column in with_gaps:
        findings.note(f"{what} {FILLS[how]}", f"`{named[column]}` ({int(gaps[column]):,})")
    sums = torch.stack([table.double().where(one, 0).sum(0) for table, one in zip(tables, known, strict=True)]).sum(0)
    counts = torch.stack([one.sum(0) for one in known]).sum(0)
    filler = (sums / counts.clamp(min=1)).float() if how != "zero" else torch.zeros(len(gaps))
    whole = [table.where(one, filler) for table, one in zip(tables, known, strict=True)]
    if how != "indicator":
        return whole, [*columns]
    said = [torch.cat([table, (~one[:, with_gaps]).float()], 1) for table, one in zip(whole, known, strict=True)]
    return said, [*columns, *(f"{named[column]} is missing" for column in with_gaps)] if columns else []
