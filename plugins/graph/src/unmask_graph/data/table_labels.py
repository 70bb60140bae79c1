"""What tables say of the labels of nodes or of graphs, by the rules of `unmask.data.labels`."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from unmask.api import IGNORED, nearest, quoted
from unmask.data import CLASS, MULTI_LABEL, NUMBER, NUMBERS, Findings, check_label_options, label_of, labels_of
from unmask_graph.data.categories import Label, as_list
from unmask_graph.data.tables import Table, cut, named, number_in

USUAL = "label"
WORDS = "labels are words, where most are numbers, and count as unknown"
Kind = Literal["class", "multi-label", "number", "numbers"] | None


class TableLabels(NamedTuple):
    """Labels as `RawGraph` takes them.

    Args:
        labels: of each graph, or of its nodes.
        classes: the words that ids stand for; empty: labels are numbers, or there are none.
        columns: that were read.
        per_node: whether they are of nodes.
    """

    labels: list[Any]
    classes: list[str]
    columns: list[str]
    per_node: bool


def labels_of_tables(
    tables: list[Table],
    column: Label,
    findings: Findings,
    kind: Kind = None,
    separator: str | None = None,
    of_graphs: bool = False,
    needed: bool = True,
) -> TableLabels:
    """Labels of nodes where their tables have the column, else of graphs.

    Args:
        tables: the graphs.
        column: the column or columns; None: ``label``, where there is one.
        findings: is told of words among numbers, and of what `unmask.data.labels_of` tells.
        kind: see `unmask.data.labels`; None: numbers of several columns; of one a number, where most labels are
            numbers and one is no whole number; else a class.
        separator: between several labels in a cell, see `unmask.data.labels_of`.
        of_graphs: whether labels of graphs come first.
        needed: whether ``column`` must be there.

    Raises:
        ValueError: no such column, or as `unmask.data.labels_of`.
    """
    columns = [USUAL] if column is None else as_list(column) or []
    if not columns:
        raise ValueError("`label_column` must name at least one column, but is empty.")
    nodes = dict.fromkeys(name for table in tables for name in table.nodes)
    graphs = dict.fromkeys(name for table in tables for name in table.graph)
    levels = [(True, nodes), (False, graphs)]
    for per_node, there in reversed(levels) if of_graphs else levels:
        written = [one if one in there else named(there, one.casefold()) for one in columns]
        if None not in written:
            found = [one for one in written if one is not None]
            labels, classes = _read(tables, found, per_node, kind, separator, findings)
            return TableLabels(labels, classes, found, per_node)
    if column is None or not needed:
        return TableLabels([None] * len(tables), [], [], False)
    wrong = next((one for one in columns if one not in {**nodes, **graphs}), columns[0])
    names = [*dict.fromkeys([*nodes, *graphs])]
    near = quoted(nearest(wrong, names) or names[:5]) if names else "none"
    raise ValueError(f"`label_column` must name columns of nodes, or of graphs, but has {wrong!r}; nearest: {near}.")


def check_options(column: Label, kind: Kind, separator: str | None) -> None:
    """Refuses options of labels that do not go together.

    Raises:
        ValueError: as `unmask.data.check_label_options`.
    """
    columns = as_list(column) or [USUAL]
    found = NUMBERS if kind is None and len(columns) > 1 else kind or CLASS
    check_label_options(found, columns if len(columns) > 1 else columns[0], separator)


def _read(
    tables: list[Table], columns: list[str], per_node: bool, kind: Kind, separator: str | None, findings: Findings
) -> tuple[list[Any], list[str]]:
    """Of each graph its label, or those of its nodes; and the classes."""
    rows = [row for table in tables for row in _rows(table, columns, per_node)]
    several = len(columns) > 1
    cells: list[Any] = [[_cell(one) for one in row] if several else _cell(row[0]) for row in rows]
    found = kind or (NUMBERS if several else CLASS)
    if kind is None and not several:
        said = [cell for cell in cells if cell is not None]
        numbers = [number for number in map(number_in, said) if number is not None]
        if 2 * len(numbers) > len(said) and any(number != round(number) for number in numbers):
            found = NUMBER
            for word in said:
                findings.note(WORDS, cut(word), int(number_in(word) is None))
            cells = [cell if number_in(cell) is not None else None for cell in cells]
    what = "node" if per_node else "graph"
    holder = f"`{', '.join(columns)}` of {what}s"
    labels, classes = labels_of(cells, found, holder, findings, what, columns if several else (), separator)
    if found == CLASS and not classes and not per_node:
        return [None] * len(tables), []
    known = _known(labels, found, classes, len(columns) if several else 1)
    if not per_node:
        return [tuple(one.tolist()) if isinstance(one, np.ndarray) else one for one in known], classes
    dtype = np.int64 if found in (CLASS, MULTI_LABEL) else np.float32
    bounds = np.cumsum([0, *(len(table.ids) for table in tables)])
    shape = (-1,) if found in (CLASS, NUMBER) else (-1, _width(known))
    return [np.array(known[start:end], dtype=dtype).reshape(shape) for start, end in pairwise(bounds)], classes


def _rows(table: Table, columns: list[str], per_node: bool) -> list[list[Any]]:
    """The cells of each node, or the one row of the graph."""
    if not per_node:
        return [[table.graph.get(column) for column in columns]]
    several = [table.nodes.get(column, [None] * len(table.ids)) for column in columns]
    return [list(row) for row in zip(*several, strict=True)]


def _known(labels: list[Any], kind: str, classes: list[str], width: int) -> list[Any]:
    """Ids in place of words, and what stands for a label that is not there."""
    if kind == CLASS:
        number_of = {word: number for number, word in enumerate(classes)}
        return [IGNORED if word is None else number_of[word] for word in labels]
    if kind == NUMBER:
        return [math.nan if number is None else number for number in labels]
    width = next((len(label) for label in labels if label is not None), width)
    nothing = np.full(width, IGNORED if kind == MULTI_LABEL else math.nan)
    return [nothing if label is None else label for label in labels]


def _width(known: list[Any]) -> int:
    return len(known[0]) if known else 1


def _cell(cell: Any) -> Any:
    """What a cell holds; None: nothing, or a number that is not finite."""
    if isinstance(cell, list | tuple):
        return cell
    word = label_of(cell)
    try:
        return word if word is None or math.isfinite(float(word)) else None
    except ValueError:
        return word
