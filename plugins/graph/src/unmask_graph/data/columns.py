"""Graphs as tables: nodes with named columns, edges with named columns; from CSV files and GraphML."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch

from unmask.api import IGNORED, quoted
from unmask.data import Findings, label_of, no_such, read_table
from unmask_graph.data.graphs import RawGraph, RawGraphs

SPLITS = ("train", "val", "test")
ENDS = (
    ("source", "target"), ("src", "dst"), ("from", "to"), ("u", "v"), ("id1", "id2"), ("id_1", "id_2"),
    ("node1", "node2"), ("node_1", "node_2"), ("head", "tail"), ("start", "end"),
)  # fmt: skip
"""Names of the columns of an edge's ends, in any case of letters."""
IDS = ("id", "node_id", "node")
"""Names of the column that tells nodes apart."""
GRAPHS = ("graph_id", "graph")
"""Names of the column that tells several graphs of one table apart."""

TEXT = "columns of text are left out"
NAMELESS = "columns without a name are left out"
HALF = "rows without a node or a graph are left out"
GUESSED = "tables name their nodes in columns of other names than usual"
NOT_READ = "columns are not read where there are several graphs"

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
        label: class of the graph, or None.
        nodes_name: what errors call its nodes; None: as the graph.
        undirected: whether each edge is named once and runs both ways.
    """

    name: str
    ids: list[str]
    nodes: Columns
    edges: np.ndarray
    edge_columns: Columns
    label: Any = None
    nodes_name: str | None = None
    undirected: bool = False


def graphs_of_tables(tables: list[Table], findings: Findings) -> RawGraphs:
    """Graphs of tables: columns of numbers are features, ``label`` and ``split`` what they say.

    ``label`` is a class; or a number to predict, where most labels are numbers and one is no whole number.

    Raises:
        ValueError: graphs with different columns, or cells that are empty or no number.
    """
    names, features = _numbers(tables, "nodes", ("label", "split"), findings)
    _, values = _numbers(tables, "edges", (), findings)
    labels, classes = _labels([table.nodes.get("label", table.label) for table in tables])
    raw = [
        RawGraph(x, table.edges, value, label, table.name, len(table.ids), table.undirected)
        for table, x, value, label in zip(tables, features, values, labels, strict=True)
    ]
    if len(tables) > 1 and any("split" in table.nodes for table in tables):
        findings.note(NOT_READ, "`split`")
    masks = _masks(tables[0]) if len(tables) == 1 and "label" in tables[0].nodes else {}
    return RawGraphs(raw, classes, masks, names)


def read_csv(edges: Path, nodes: Path | None, findings: Findings) -> list[Table]:
    """The graphs of a table of edges and perhaps one of nodes: one, or as many as their columns ``graph_id`` name.

    Raises:
        ValueError: no such file, a first line that is no line of names, nodes named twice, edges to unknown nodes, or
            ``graph_id`` in one of two tables.
    """
    columns = _read(edges, "paths", findings)
    if len(columns) < 2:
        raise ValueError(f"{edges.name!r} must have columns `source` and `target`, but has {_short([*columns])}.")
    cells = None if nodes is None else _read(nodes, "nodes", findings)
    if cells == {}:
        raise ValueError(f"{nodes.name!r} must have a column `id`, but has none with a name.")  # type: ignore[union-attr]
    id_column = None if cells is None else _named(cells, IDS) or next(iter(cells))
    ids = None if cells is None or id_column is None else cells[id_column]
    source, target = _ends(columns, edges.name, {*(ids or ())}, findings)
    if cells is not None and nodes is not None:
        _check_id(cells, nodes.name, {*columns[source], *columns[target]}, findings)
        cells.pop(id_column or "")
    graph_of = _graph_column(columns, edges, cells, nodes)
    rows_of = _rows_of([columns.pop(source), columns.pop(target)], columns, graph_of, edges.name, findings)
    nodes_of = None
    if cells is not None and nodes is not None and ids is not None:
        nodes_of = _rows_of([ids], cells, graph_of and _named(cells, GRAPHS), nodes.name, findings)

    tables = []
    for graph in _ordered(rows_of.keys() | (nodes_of or {}).keys()):
        (sources, targets), edge_columns = rows_of.get(graph, ([[], []], {name: [] for name in columns}))
        if nodes_of is None:
            names = _ordered({*sources, *targets})
            own: Columns = {}
        else:
            (names,), own = nodes_of.get(graph, ([[]], {name: [] for name in cells or {}}))
        place = f", graph {graph}" if graph_of else ""
        name, where = edges.name + place, (nodes or edges).name + place
        tables.append(
            Table(name, names, own, _numbered(sources, targets, names, name, where), edge_columns, nodes_name=where)
        )
    return tables


def read_graphml(path: Path) -> Table:
    """The graph of a GraphML file.

    Raises:
        ValueError: a damaged file.
    """
    try:
        graph = nx.read_graphml(path)
    except Exception as error:  # networkx and the XML reader raise kinds of their own
        raise ValueError(f"{path.name!r} must be GraphML, but cannot be read: {error}.") from error
    ids = list(graph)
    number_of = {name: number for number, name in enumerate(ids)}
    joined = list(graph.edges(data=True))
    edges = np.array([[number_of[a] for a, _, _ in joined], [number_of[b] for _, b, _ in joined]], dtype=np.int64)
    cells = _columns([graph.nodes[name] for name in ids])
    return Table(
        path.name, ids, cells, edges.reshape(2, -1), _columns([x for _, _, x in joined]), graph.graph.get("label"),
        undirected=not graph.is_directed(),
    )  # fmt: skip


def _read(path: Path, option: str, findings: Findings) -> Columns:
    if not path.is_file():
        raise no_such(path, option)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = read_table(file, path.name, findings)
            columns: Columns = {name: [] for name in table.columns}
            for row in table.rows:
                for name, cell in row.items():
                    columns[name].append(cell.strip())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name!r} must be text in UTF-8, but is not: {error.reason}.") from error
    if "" in columns:
        findings.note(NAMELESS, f"of {path.name}")
        del columns[""]
    return columns


def _named(columns: Iterable[str], names: Iterable[str]) -> str | None:
    """The first of ``names`` that a column has, in any case of letters, as it is written there."""
    written = {column.casefold(): column for column in columns}
    return next((written[name] for name in names if name in written), None)


def _ends(columns: Columns, name: str, ids: set[str], findings: Findings) -> tuple[str, str]:
    """The columns of source and target: by their names, else the first two."""
    for pair in ENDS:
        one, other = (_named(columns, [end]) for end in pair)
        if one is not None and other is not None:
            return one, other
    source, target = list(columns)[:2]
    nodes = {*columns[source], *columns[target], *ids}
    usual = _named(columns, [end for pair in ENDS for end in pair])
    if usual is None and ({source, target} & nodes or any(_number(one) is not None for one in columns)):
        raise ValueError(
            f"The first line of {name!r} must name its columns, but is {_short([*columns])}, which looks like an edge; "
            "put a line such as `source,target` before it."
        )
    findings.note(GUESSED, f"{name} (`{source}`, `{target}`)")
    return source, target


def _check_id(cells: Columns, name: str, joined: set[str], findings: Findings) -> None:
    """Refuses a node that stands where the names of columns should."""
    if _named(cells, IDS) is not None:
        return
    first, *rest = cells
    numbers = [_number(one) is not None for one in rest]
    if first in joined or _number(first) is not None or (numbers and all(numbers)):
        raise ValueError(
            f"The first line of {name!r} must name its columns, but is {_short([first, *rest])}, which looks like a "
            "node; put a line of names before it, the first of them `id`."
        )
    findings.note(GUESSED, f"{name} (`{first}`)")


def _graph_column(columns: Columns, edges: Path, cells: Columns | None, nodes: Path | None) -> str | None:
    """The column that tells graphs apart, in both tables or in none."""
    one = _named(columns, GRAPHS)
    other = None if cells is None else _named(cells, GRAPHS)
    if cells is not None and nodes is not None and (one is None) != (other is None):
        with_it, without = (edges, nodes) if one else (nodes, edges)
        raise ValueError(
            f"{without.name!r} must have the column `{one or other}` as {with_it.name!r} has it, which tells graphs "
            "apart, but has not."
        )
    return one


def _rows_of(
    keys: list[list[str]], columns: Columns, graph_column: str | None, name: str, findings: Findings
) -> dict[str, tuple[list[list[str]], Columns]]:
    """Of each graph its part of the ``keys``, which must not be empty, and of the other columns."""
    graphs = columns.pop(graph_column) if graph_column else [""] * len(keys[0])
    rows: dict[str, list[int]] = {} if graph_column else {"": []}
    for row, (graph, *named) in enumerate(zip(graphs, *keys, strict=True)):
        if not all(named) or (graph_column and not graph):
            findings.note(HALF, f"row {row + 1:,} of {name}")
        else:
            rows.setdefault(graph, []).append(row)
    return {
        graph: (
            [[key[row] for row in at] for key in keys],
            {column: [cells[row] for row in at] for column, cells in columns.items()},
        )
        for graph, at in rows.items()
    }


def _numbered(sources: list[str], targets: list[str], ids: list[str], name: str, where: str) -> np.ndarray:
    """Numbers of source and target among the ids ``[2, E]``."""
    number_of = {one: number for number, one in enumerate(ids)}
    if len(number_of) < len(ids):
        twice = next(one for place, one in enumerate(ids) if number_of[one] != place)
        raise ValueError(f"{where!r} must name each node once, but names {_cut(twice)} twice.")
    for ends in (sources, targets):
        for row, one in enumerate(ends):
            if one not in number_of:
                raise ValueError(f"{name!r} must join nodes of {where!r}, but row {row + 1} has {_cut(one)}.")
    return np.array([[number_of[one] for one in ends] for ends in (sources, targets)], dtype=np.int64).reshape(2, -1)


def _columns(rows: list[dict[str, Any]]) -> Columns:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _numbers(
    tables: list[Table], of: str, special: tuple[str, ...], findings: Findings
) -> tuple[list[str], list[torch.Tensor | None]]:
    """Names of the columns of numbers, the same in all graphs; and ``[n, F]`` of each graph, None: there are none."""
    several = [table.nodes if of == "nodes" else table.edge_columns for table in tables]
    names = dict.fromkeys(name for columns in several for name in columns if name not in special)
    text = [
        name
        for name in names
        if all(_number(cell) is None for columns in several for cell in columns.get(name, ()))
    ]  # fmt: skip
    for name in text:
        findings.note(TEXT, f"`{name}` of {of}")
    numeric = [name for name in names if name not in text]
    tensors: list[torch.Tensor | None] = []
    for columns, table in zip(several, tables, strict=True):
        where = table.name if of == "edges" else table.nodes_name or table.name
        num_rows = table.edges.shape[1] if of == "edges" else len(table.ids)
        parts = []
        for name in numeric:
            cells = columns.get(name, [None] * num_rows)
            numbers = [_number(cell) for cell in cells]
            if None in numbers:
                row = numbers.index(None)
                told = "is empty" if cells[row] in (None, "") else f"has {_cut(cells[row])}"
                node = f" (node {_cut(table.ids[row])})" if of == "nodes" else ""
                raise ValueError(
                    f"Column `{name}` of {where!r} must have a finite number in each row, but row {row + 1}{node} "
                    f"{told}."
                )
            parts.append(torch.tensor(numbers))
        tensors.append(torch.stack(parts, dim=1) if parts else None)
    return numeric, tensors


def _number(cell: Any) -> float | None:
    """The finite number in a cell; None where there is none."""
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _labels(given: list[Any]) -> tuple[list[Any], list[str]]:
    """Labels of each graph, or of its nodes, as ids or numbers; and the words that ids stand for.

    A cell that is empty or not a number (``nan``) is no label.
    """
    words = [[_word(cell) for cell in label] if isinstance(label, list) else _word(label) for label in given]
    said = [word for label in words for word in (label if isinstance(label, list) else [label]) if word is not None]
    numbers = [number for number in map(_number, said) if number is not None]
    if 2 * len(numbers) > len(said) and any(number != round(number) for number in numbers):
        return [_values(one) for one in words], []
    classes = _ordered(set(said))
    number_of = {word: number for number, word in enumerate(classes)}

    def ids(label: Any) -> Any:
        if isinstance(label, list):
            return np.array([number_of.get(word, IGNORED) for word in label], dtype=np.int64)
        return number_of.get(label, IGNORED) if classes else None

    return [ids(label) for label in words], classes


def _values(words: Any) -> Any:
    if isinstance(words, list):
        return np.array([_values(word) for word in words], dtype=np.float32)
    number = _number(words)
    return math.nan if number is None else number


def _word(cell: Any) -> str | None:
    word = label_of(cell)
    try:
        return word if word is None or math.isfinite(float(word)) else None
    except ValueError:
        return word


def _ordered(names: Iterable[Any]) -> list[str]:
    """Numbers by size, else by letters."""
    names = set(names)
    if all(_number(name) is not None for name in names):
        return sorted(names, key=lambda name: (float(name), name))
    return sorted(names)


def _cut(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _short(cells: list[str]) -> str:
    return ", ".join(_cut(cell) for cell in cells[:5]) + (", ..." if len(cells) > 5 else "")


def _masks(table: Table) -> dict[str, torch.Tensor]:
    parts = table.nodes.get("split")
    if parts is None:
        return {}
    wrong = sorted({str(part or "") for part in parts} - {*SPLITS, ""})
    if wrong:
        raise ValueError(
            f"Column `split` of {table.nodes_name or table.name!r} must be of {quoted(SPLITS)} or empty, but has "
            f"{_cut(wrong[0])}."
        )
    return {part: torch.tensor([one == part for one in parts]) for part in SPLITS}
