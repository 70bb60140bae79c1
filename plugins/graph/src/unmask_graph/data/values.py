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


Settled = dict[str, Any]
"""What gaps were filled with and features scaled by, as lists of numbers: a model's new data takes that of its old."""


def fill(
    tables: Sequence[Tensor],
    columns: Sequence[str],
    how: str,
    what: str,
    findings: Findings,
    settled: Settled | None = None,
) -> tuple[list[Tensor], list[str]]:
    """Tables ``[n, F]`` with a number for each that is not finite; the mean of a column is that of all tables.

    Args:
        tables: of one width F.
        columns: their names; empty: they have none.
        how: ``zero``, ``mean``, or ``indicator``: the mean, and one more column for each that has gaps.
        what: they hold, in what is told.
        findings: is told of each column with gaps.
        settled: of earlier data of as many columns, its means and which of its columns had gaps under ``what``, which
            are taken; where there are none, those of these tables are put there.

    Returns:
        The tables, and the names of their columns.
    """
    if not tables:
        return [*tables], [*columns]
    settled = {} if settled is None else settled
    known = [table.isfinite() for table in tables]
    gaps = torch.stack([(~one).sum(0) for one in known]).sum(0)  # [F]
    named = [*columns] or [str(number) for number in range(len(gaps))]
    for column in gaps.nonzero()[:, 0].tolist():
        findings.note(f"{what} {FILLS[how]}", f"`{named[column]}` ({int(gaps[column]):,})")
    kept = settled.get(what)
    if kept is None or len(kept["mean"]) != len(gaps):
        each = [table.double().where(one, 0).sum(0) for table, one in zip(tables, known, strict=True)]
        counts = torch.stack([one.sum(0) for one in known]).sum(0)
        mean = (torch.stack(each).sum(0) / counts.clamp(min=1)).float()
        kept = settled[what] = {"mean": mean.tolist(), "gaps": gaps.nonzero()[:, 0].tolist()}
    filler = torch.tensor(kept["mean"]) if how != "zero" else torch.zeros(len(gaps))
    whole = [table.where(one, filler) for table, one in zip(tables, known, strict=True)]
    marked = kept["gaps"]
    if how != "indicator" or not marked:
        return whole, [*columns]
    said = [torch.cat([table, (~one[:, marked]).float()], 1) for table, one in zip(whole, known, strict=True)]
    return said, [*columns, *(f"{named[column]} is missing" for column in marked)] if columns else []


def scale(tables: Sequence[Tensor], how: str, settled: Settled) -> list[Tensor]:
    """Features ``[n, F]`` of graphs, scaled.

    Args:
        tables: of one width F.
        how: see `GraphData`.
        settled: of earlier data of as many columns, its mean and deviation, which are taken; where there are none,
            those of these tables are put there.
    """
    if how == "rows":
        return [table / table.abs().sum(1, keepdim=True).clamp(min=1e-12) for table in tables]
    if how != "columns":
        return [*tables]
    kept = settled.get("scale")
    if kept is None or len(kept["mean"]) != tables[0].shape[1]:
        every = torch.cat([*tables]) if len(tables) > 1 else tables[0]
        deviation = every.std(0, correction=0)
        deviation = torch.where(deviation > 1e-12, deviation, 1.0)  # a constant feature becomes 0
        kept = settled["scale"] = {"mean": every.mean(0).tolist(), "deviation": deviation.tolist()}
    return [(table - torch.tensor(kept["mean"])) / torch.tensor(kept["deviation"]) for table in tables]
