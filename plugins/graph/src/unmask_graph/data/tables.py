"""Graphs as tables: nodes with named columns, edges with named columns, whatever files they come from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Columns = dict[str, list[Any]]


@dataclass
class Table:
    """One graph.

    Args:
        name: what errors call it.
        ids: of the nodes.
        nodes: columns of the nodes, without their ids; None or ``""``: an empty cell.
        edges: numbers of source and target among the ids ``[2, E]``.
        edge_columns: further columns of the edges.
        graph: what is said of the graph as a whole, by name.
        title: its own name, such as that of its file.
        nodes_name: what errors call its nodes; None: as the graph.
        undirected: whether each edge is named once and runs both ways.
        shown: names of the nodes, where they have others than their ids.
    """

    name: str
    ids: list[str]
    nodes: Columns
    edges: np.ndarray
    edge_columns: Columns
    graph: dict[str, Any] = field(default_factory=dict)
    title: str = ""
    nodes_name: str | None = None
    undirected: bool = False
    shown: list[str] | None = None


def named(columns: Iterable[str], *names: str) -> str | None:
    """The first of ``names`` that a column has, in any case of letters, as it is written there."""
    written: dict[str, str] = {}
    for column in columns:
        written.setdefault(column.casefold(), column)
    return next((written[name] for name in names if name in written), None)


def number_in(cell: Any) -> float | None:
    """The finite number in a cell; None where there is none."""
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def cut(cell: Any) -> str:
    """A cell in a message."""
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:57]}..."
