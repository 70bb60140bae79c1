"""What tables say of the labels of nodes or of graphs: a class, a number to predict, or several numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from unmask.api import IGNORED, nearest, quoted
from unmask.data import Findings, label_of
from unmask_graph.data.categories import Label, as_list, in_order
from unmask_graph.data.tables import Table, cut, number_in

USUAL = "label"
WORDS = "labels are words, where most are numbers, and count as unknown"


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


def labels_of(tables: list[Table], label: Label, findings: Findings, of_graphs: bool = False) -> TableLabels:
    """Labels of nodes where their tables have the column, else of graphs.

    One column holds classes, or numbers to predict where most labels are numbers and one is no whole number. Several
    hold numbers.

    Args:
        tables: the graphs.
        label: the column or columns; None: ``label``, where there is one.
        findings: is told of words among numbers.
        of_graphs: whether labels of graphs come first.

    Raises:
        ValueError: no such column, or several of which one holds words.
    """
    columns = [USUAL] if label is None else as_list(label) or []
    if not columns:
        raise ValueError("`label` must name at least one column, but is empty.")
    nodes = dict.fromkeys(name for table in tables for name in table.nodes)
    graphs = dict.fromkeys(name for table in tables for name in table.graph)
    levels = [(True, nodes), (False, graphs)]
    for per_node, there in reversed(levels) if of_graphs else levels:
        if all(column in there for column in columns):
            given = [_cells(table, columns, per_node) for table in tables]
            read = _several(given, columns) if len(columns) > 1 else _one(given, findings)
            return TableLabels(*read, columns, per_node)
    if label is None:
        return TableLabels([None] * len(tables), [], [], False)
    wrong = next((column for column in columns if column not in {**nodes, **graphs}), columns[0])
    names = [*dict.fromkeys([*nodes, *graphs])]
    near = quoted(nearest(wrong, names) or names[:5]) if names else "none"
    raise ValueError(f"`label` must name columns of nodes, or of graphs, but has {wrong!r}; nearest: {near}.")


def _cells(table: Table, columns: list[str], per_node: bool) -> Any:
    """The one cell, or those of all nodes as a list; of several columns tuples of them."""
    if not per_node:
        cells = tuple(table.graph.get(column) for column in columns)
        return cells if len(columns) > 1 else cells[0]
    rows = [table.nodes.get(column, [None] * len(table.ids)) for column in columns]
    return [*zip(*rows, strict=True)] if len(columns) > 1 else rows[0]


def _one(given: list[Any], findings: Findings) -> tuple[list[Any], list[str]]:
    words = [[_word(cell) for cell in label] if isinstance(label, list) else _word(label) for label in given]
    said = [word for label in words for word in (label if isinstance(label, list) else [label]) if word is not None]
    numbers = [number for number in map(number_in, said) if number is not None]
    if 2 * len(numbers) > len(said) and any(number != round(number) for number in numbers):
        for word in said:
            findings.note(WORDS, cut(word), int(number_in(word) is None))
        return [_values(one) for one in words], []
    classes = in_order(said)
    number_of = {word: number for number, word in enumerate(classes)}

    def ids(label: Any) -> Any:
        if isinstance(label, list):
            return np.array([number_of.get(word, IGNORED) for word in label], dtype=np.int64)
        return number_of.get(label, IGNORED) if classes else None

    return [ids(label) for label in words], classes


def _several(given: list[Any], columns: list[str]) -> tuple[list[Any], list[str]]:
    """Float ``[N, C]`` of nodes, or a tuple of each graph; NaN where there is none."""
    found: list[Any] = [
        np.array([_row(cells, columns) for cells in label], dtype=np.float32).reshape(-1, len(columns))
        if isinstance(label, list)
        else _row(label, columns)
        for label in given
    ]
    return found, []


def _row(cells: Sequence[Any], columns: list[str]) -> tuple[float, ...]:
    words = [_word(cell) for cell in cells]
    numbers = [math.nan if word is None else number_in(word) for word in words]
    if None in numbers:
        wrong = numbers.index(None)
        raise ValueError(
            f"`label` must name one column, or several of numbers, but `{columns[wrong]}` holds {cut(words[wrong])}."
        )
    return tuple(numbers)  # type: ignore[arg-type]


def _values(words: Any) -> Any:
    if isinstance(words, list):
        return np.array([_values(word) for word in words], dtype=np.float32)
    number = number_in(words)
    return math.nan if number is None else number


def _word(cell: Any) -> str | None:
    word = label_of(cell)
    try:
        return word if word is None or math.isfinite(float(word)) else None
    except ValueError:
        return word
