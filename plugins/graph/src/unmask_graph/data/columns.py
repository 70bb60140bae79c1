"""Features, values of edges and labels from the columns of tables."""

from __future__ import annotations

import math
import re
from typing import Any

import torch

from unmask.api import quoted
from unmask.data import Findings
from unmask_graph.data.categories import Categories, Label, asked, check_columns, kinds_of_cells
from unmask_graph.data.graphs import RawGraph, RawGraphs
from unmask_graph.data.table_labels import USUAL, Kind, labels_of_tables
from unmask_graph.data.tables import Table, cut, named, number_in

SPLITS = ("train", "val", "test")
NOTHING = ("", "na", "n/a", "nan", "null", "none", "?", "-")
"""Cells that hold no number, in small letters."""

DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
"""A number as some countries write it."""

TRUTH = {"true": 1.0, "false": 0.0}
"""Words that are read as numbers, in small letters."""

TEXT = "columns of text are left out (`categories`, of edges `edge_categories`, makes kinds of things one-hot)"
EMPTY = "columns without any value are left out"
NOT_READ = "columns are not read where there are several graphs"
GRAPHS_NOT_READ = "columns of `graphs` are not read"
NOT_ASKED = "columns `label` are left out, since others are asked for"


def graphs_of_tables(
    tables: list[Table],
    findings: Findings,
    label_column: Label = None,
    categories: Categories = None,
    edge_categories: Categories = None,
    of_graphs: bool = False,
    label_kind: Kind = None,
    label_separator: str | None = None,
    needed: bool = True,
) -> RawGraphs:
    """Graphs of tables: columns of numbers are features, ``split`` and the column of labels what they say.

    Args:
        tables: one or more graphs.
        findings: is told of what is left out.
        label_column: column of the nodes, or of the graphs, that is to be predicted, or several; None: ``label``,
            where there is one. See `labels_of_tables`.
        categories: columns of nodes that are kinds, see `asked`.
        edge_categories: columns of edges that are kinds.
        of_graphs: whether labels of graphs come before those of nodes.
        label_kind: see `labels_of_tables`.
        label_separator: see `labels_of_tables`.
        needed: whether ``label_column`` must be there.

    Raises:
        ValueError: no such column, or cells that are no number.
    """
    found = labels_of_tables(tables, label_column, findings, label_kind, label_separator, of_graphs, needed)
    there = dict.fromkeys(name for table in tables for name in table.nodes)
    own, split = named(there, USUAL), named(there, "split")
    special = {*found.columns, *(one for one in (own, split) if one is not None)}
    if own is not None and own not in found.columns:
        findings.note(NOT_ASKED, f"`{own}` of nodes")
    names, features = _numbers(tables, "nodes", special, asked(categories), findings)
    edge_names, values = _numbers(tables, "edges", set(), asked(edge_categories), findings)
    raw = [
        RawGraph(
            x, table.edges, value, own, table.name, len(table.ids), table.undirected, table.title or table.name,
            table.shown or table.ids, repr(table.nodes_name or table.name),
        )
        for table, x, value, own in zip(tables, features, values, found.labels, strict=True)
    ]  # fmt: skip
    for name in tables[0].graph if of_graphs else ():
        if found.per_node or name not in found.columns:
            findings.note(GRAPHS_NOT_READ, f"`{name}`")
    if len(tables) > 1 and split is not None:
        findings.note(NOT_READ, f"`{split}`")
    masks = _masks(tables[0], split) if len(tables) == 1 and found.per_node else {}
    return RawGraphs(raw, found.classes, masks, names, edge_names=edge_names)


def _numbers(
    tables: list[Table], of: str, special: set[str], kinds: dict[str, list[str] | None], findings: Findings
) -> tuple[list[str], list[torch.Tensor | None]]:
    """Names of the columns of numbers, the same in all graphs; and ``[n, F]`` of each graph, None: there are none.

    A number that is missing is NaN. Columns of ``kinds`` are one-hot, and come last.
    """
    several = [table.nodes if of == "nodes" else table.edge_columns for table in tables]
    counts = [len(table.ids) if of == "nodes" else table.edges.shape[1] for table in tables]
    names = [name for name in dict.fromkeys(name for columns in several for name in columns) if name not in special]
    check_columns("categories" if of == "nodes" else "edge_categories", kinds, names, of)
    parts: list[list[torch.Tensor]] = [[] for _ in tables]
    numeric = []
    for name in (name for name in names if name not in kinds):
        cells = [columns.get(name, [None] * count) for columns, count in zip(several, counts, strict=True)]
        if all(number_in(cell) is None and _truth(cell) is None for column in cells for cell in column):
            empty = all(_is_empty(cell) for column in cells for cell in column)
            findings.note(EMPTY if empty else TEXT, f"`{name}` of {of}")
            continue
        numeric.append(name)
        for part, column, table in zip(parts, cells, tables, strict=True):
            part.append(torch.tensor([_value(cell, row, name, of, table) for row, cell in enumerate(column)])[:, None])
    for name, known in kinds.items():
        cells = [columns.get(name, [None] * count) for columns, count in zip(several, counts, strict=True)]
        columns_of, hot = kinds_of_cells(cells, name, known, findings)
        numeric += columns_of
        for part, one in zip(parts, hot, strict=True):
            part.append(one)
    return numeric, [torch.cat(part, dim=1) if part else None for part in parts]


def _value(cell: Any, row: int, name: str, of: str, table: Table) -> float:
    """A number, 1 or 0 for ``true`` and ``false``, NaN for a cell without one.

    Raises:
        ValueError: text.
    """
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        if (truth := _truth(cell)) is not None:
            return truth
        if _is_empty(cell):
            return math.nan
        where = table.name if of == "edges" else table.nodes_name or table.name
        node = f" (node {cut(table.ids[row])})" if of == "nodes" else ""
        option = "categories" if of == "nodes" else "edge_categories"
        way = f"where it holds kinds, name it in `{option}`"
        if isinstance(cell, str) and DECIMAL_COMMA.fullmatch(cell.strip()):
            way = "write decimals with a point"
        raise ValueError(
            f"Column `{name}` of {where!r} must have a number or nothing in each row, but row {row + 1}{node} has "
            f"{cut(cell)}; {way}."
        ) from None


def _truth(cell: Any) -> float | None:
    return TRUTH.get(cell.strip().casefold()) if isinstance(cell, str) else None


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip().casefold() in NOTHING)


def _masks(table: Table, column: str | None) -> dict[str, torch.Tensor]:
    if column is None:
        return {}
    parts = [str(part or "").strip().casefold() for part in table.nodes[column]]
    wrong = sorted({*parts} - {*SPLITS, ""})
    if wrong:
        raise ValueError(
            f"Column `{column}` of {table.nodes_name or table.name!r} must be of {quoted(SPLITS)} or empty, but has "
            f"{cut(wrong[0])}."
        )
    return {part: torch.tensor([one == part for one in parts]) for part in SPLITS}
