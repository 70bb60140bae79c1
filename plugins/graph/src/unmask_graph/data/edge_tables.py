"""Tables of edges, of nodes and of graphs, as the graphs that they hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from unmask.api import nearest, quoted
from unmask.data import Findings
from unmask_graph.data.categories import in_order
from unmask_graph.data.lines import FIRST_EDGE, Columns, column_names, is_number, read_columns
from unmask_graph.data.tables import Table, cut, named

ENDS = (
    ("source", "target"), ("src", "dst"), ("from", "to"), ("u", "v"), ("id1", "id2"), ("id_1", "id_2"),
    ("node1", "node2"), ("node_1", "node_2"), ("head", "tail"), ("start", "end"),
)  # fmt: skip
"""Names of the columns of an edge's ends, in any case of letters."""
IDS = ("id", "node_id", "node")
"""Names of the column that tells nodes apart."""
GRAPHS = ("graph_id", "graph")
"""Names of the column that tells several graphs of one table apart."""
ONE_GRAPH = "none"
"""Says that no column tells graphs apart."""
FILES = ("file", "name", "id")
"""Names of the column of a table of graphs, where it is not the one that the other tables have."""

HALF = "rows without a node or a graph are left out"
GUESSED = "tables name their nodes in columns of other names than usual"
NO_ROW = "graphs have no row in `graphs`"
NO_GRAPH = "rows of `graphs` are of no graph"


def read_tables(
    edges: Path,
    nodes: Path | None,
    findings: Findings,
    *,
    graph_column: str | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
) -> list[Table]:
    """The graphs of a table of edges and perhaps one of nodes: one, or as many as their graph column names.

    Args:
        edges: the table of edges.
        nodes: the table of nodes; None: nodes are those that the edges name.
        findings: is told of what is left out or guessed.
        graph_column: in both tables; None: ``graph_id`` or ``graph``, where there is one; ``none``: there is one graph.
        header: whether the first line of ``edges`` names its columns; None: not where it looks like an edge.
        delimiter: between the fields of all tables; None: found.

    Raises:
        ValueError: no such file, a table of nodes without a line of names, nodes named twice, edges to unknown nodes, a
            graph column in one of two tables, or repeated edges that look like those of several graphs.
    """
    columns = read_columns(edges, "paths", findings, delimiter, header)
    if len(columns) < 2:
        raise ValueError(f"{edges.name!r} must have columns `source` and `target`, but has {_short([*columns])}.")
    cells = None if nodes is None else read_columns(nodes, "nodes", findings, delimiter)
    if cells == {}:
        raise ValueError(f"{nodes.name!r} must have a column `id`, but has none with a name.")  # type: ignore[union-attr]
    id_column = None if cells is None else named(cells, *IDS) or next(iter(cells))
    ids = None if cells is None or id_column is None else cells[id_column]
    columns, (source, target) = _ends(columns, edges.name, {*(ids or ())}, header, findings)
    if cells is not None and nodes is not None:
        _check_id(cells, nodes.name, {*columns[source], *columns[target]}, findings)
        cells.pop(id_column or "")
    graph_of, graph_of_nodes = _graph_columns(columns, edges, cells, nodes, graph_column)
    if graph_of is None and graph_column is None:
        _check_repeats(columns, source, target, edges.name)
    rows_of = _rows_of([columns.pop(source), columns.pop(target)], columns, graph_of, edges.name, findings)
    nodes_of = None
    if cells is not None and nodes is not None and ids is not None:
        nodes_of = _rows_of([ids], cells, graph_of_nodes, nodes.name, findings)

    tables = []
    for graph in in_order(rows_of.keys() | (nodes_of or {}).keys()):
        (sources, targets), edge_columns = rows_of.get(graph, ([[], []], {name: [] for name in columns}))
        if nodes_of is None:
            names = in_order({*sources, *targets})
            own: Columns = {}
        else:
            (names,), own = nodes_of.get(graph, ([[]], {name: [] for name in cells or {}}))
        place = f", graph {graph}" if graph_of else ""
        name, where = edges.name + place, (nodes or edges).name + place
        tables.append(
            Table(
                name, names, own, _numbered(sources, targets, names, name, where), edge_columns,
                title=graph if graph_of else edges.name, nodes_name=where,
            )
        )  # fmt: skip
    return tables


def add_labels(tables: list[Table], graphs: Path, findings: Findings, graph_column: str | None = None) -> None:
    """Gives each graph the cells of its row in a table of graphs, which is found by the graph's name.

    A row names its graph as the other tables do, or its file, with or without ending.

    Raises:
        ValueError: no such table, one without a line of names, one that names a graph twice, or none of the graphs.
    """
    columns = read_columns(graphs, "graphs", findings)
    if any(map(is_number, columns)):
        raise ValueError(
            f"The first line of {graphs.name!r} must name its columns, but is {_short([*columns])}; put a line such as "
            "`graph_id,label` before it."
        )
    usual = (*([graph_column.casefold()] if graph_column else []), *GRAPHS, *FILES)
    key = named(columns, *usual) or next(iter(columns))
    if named(columns, *usual) is None:
        findings.note(GUESSED.replace("nodes", "graphs"), f"{graphs.name} (`{key}`)")
    names = columns.pop(key)
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"{graphs.name!r} must name each graph once, but names {cut(twice)} twice.")
    row_of = {name: {column: cells[row] for column, cells in columns.items()} for row, name in enumerate(names)}
    taken = set()
    for table in tables:
        own = next((name for name in (table.title, Path(table.title).stem) if name in row_of), None)
        if own is None:
            findings.note(NO_ROW, table.title)
        taken.add(own)
        table.graph = row_of.get(own or "", dict.fromkeys(columns))
    if not row_of.keys() & taken:
        titles = _short([table.title for table in tables])
        raise ValueError(
            f"{graphs.name!r} must have rows of the graphs, which are called {titles}, but its column `{key}` has "
            f"{_short(names)}."
        )
    for name in row_of.keys() - taken:
        findings.note(NO_GRAPH, name)


def _ends(
    columns: Columns, name: str, ids: set[str], header: bool | None, findings: Findings
) -> tuple[Columns, tuple[str, str]]:
    """The columns, and those of source and target: by their names, else the first two.

    A first line that looks like an edge becomes one.
    """
    for pair in ENDS:
        one, other = (named(columns, end) for end in pair)
        if one is not None and other is not None:
            return columns, (one, other)
    source, target = list(columns)[:2]
    nodes = {*columns[source], *columns[target], *ids}
    usual = named(columns, *(end for pair in ENDS for end in pair))
    if header is None and usual is None and {source, target} & nodes:
        findings.note(FIRST_EDGE, f"{name} ({', '.join(list(columns)[:3])})")
        names = column_names(len(columns))
        cells = [[first, *rest] for first, rest in columns.items()]
        return dict(zip(names, cells, strict=True)), ("source", "target")
    findings.note(GUESSED, f"{name} (`{source}`, `{target}`)")
    return columns, (source, target)


def _check_id(cells: Columns, name: str, joined: set[str], findings: Findings) -> None:
    """Refuses a node that stands where the names of columns should."""
    if named(cells, *IDS) is not None:
        return
    first, *rest = cells
    numbers = [is_number(one) for one in rest]
    if first in joined or is_number(first) or (numbers and all(numbers)):
        raise ValueError(
            f"The first line of {name!r} must name its columns, but is {_short([first, *rest])}, which looks like a "
            "node; put a line of names before it, the first of them `id`."
        )
    findings.note(GUESSED, f"{name} (`{first}`)")


def _graph_columns(
    columns: Columns, edges: Path, cells: Columns | None, nodes: Path | None, wanted: str | None
) -> tuple[str | None, str | None]:
    """The column that tells graphs apart, as each table writes it; in both or in none."""
    if wanted == ONE_GRAPH:
        return None, None
    names = GRAPHS if wanted is None else [wanted.casefold()]
    one = named(columns, *names)
    other = None if cells is None else named(cells, *names)
    if wanted is not None and one is None:
        near = quoted(nearest(wanted, columns) or columns)
        raise ValueError(f"`graph_column` must name a column of {edges.name!r}, but is {wanted!r}; nearest: {near}.")
    if cells is not None and nodes is not None and (one is None) != (other is None):
        with_it, without = (edges, nodes) if one else (nodes, edges)
        raise ValueError(
            f"{without.name!r} must have the column `{one or other}` as {with_it.name!r} has it, which tells graphs "
            f"apart, but has not; set `graph_column` to {ONE_GRAPH} where all are one graph."
        )
    return one, other


def _check_repeats(columns: Columns, source: str, target: str, name: str) -> None:
    """Refuses a table most of whose edges repeat, unless they are told apart by a column: then there are graphs."""
    pairs = list(zip(columns[source], columns[target], strict=True))
    repeated = len(pairs) - len({*pairs})
    if 2 * repeated < len(pairs):
        return
    for column, cells in columns.items():
        values = {*cells}
        whole = all(not is_number(cell) or float(cell).is_integer() for cell in values)
        if column in (source, target) or not 1 < len(values) <= len(pairs) / 2 or not whole:
            continue
        if len({*zip(cells, pairs, strict=True)}) == len(pairs):
            raise ValueError(
                f"{name!r} must name each edge once, but repeats {repeated:,} of {len(pairs):,}, each with another "
                f"`{column}`; set `graph_column` to {column} where that tells graphs apart, or to {ONE_GRAPH} where "
                "all are one graph."
            )


def _rows_of(
    keys: list[list[str]], columns: Columns, graph_column: str | None, name: str, findings: Findings
) -> dict[str, tuple[list[list[str]], Columns]]:
    """Of each graph its part of the ``keys``, which must not be empty, and of the other columns."""
    graphs = columns.pop(graph_column) if graph_column else [""] * len(keys[0])
    rows: dict[str, list[int]] = {} if graph_column else {"": []}
    for row, (graph, *ends) in enumerate(zip(graphs, *keys, strict=True)):
        if not all(ends) or (graph_column and not graph):
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
        raise ValueError(f"{where!r} must name each node once, but names {cut(twice)} twice.")
    for ends in (sources, targets):
        for row, one in enumerate(ends):
            if one not in number_of:
                raise ValueError(
                    f"{name!r} must join nodes of {where!r}, but row {row + 1} has {cut(one)}, and nodes are called "
                    f"{_short(ids)}; give it a row there, or write both alike."
                )
    return np.array([[number_of[one] for one in ends] for ends in (sources, targets)], dtype=np.int64).reshape(2, -1)


def _short(cells: list[str]) -> str:
    return ", ".join(cut(cell) for cell in cells[:5]) + (", ..." if len(cells) > 5 else "")
