"""One graph a file, in the formats of other programs: GraphML, GEXF, GML, Pajek and Matrix Market."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import networkx as nx
import numpy as np
import scipy.io
import scipy.sparse

from unmask.data import Findings, check_unpacked, open_gzip
from unmask_graph.data.tables import Columns, Table, number_in

NAMES = "files hold names of nodes in `label`, which are no classes (`label_column: label` takes them for such)"
PLACES = "files hold places of nodes in a drawing, which are not read"
PAJEK_OWN = ("id", "x", "y", "z", "shape")
NODE = 64
"""Bytes that a node takes at least, with its name."""
EDGE_NAMES = "files hold names of edges, which are not read"


def read_networks(files: Sequence[Path], ending: str, findings: Findings, names_asked: bool) -> list[Table]:
    """The graphs of files, one each.

    ``label`` of GEXF, GML and Pajek is the name of a node, and so is that of GraphML where no two in a file are alike.

    Args:
        files: packed by gzip where they end in ``.gz``.
        ending: of all files, ``.mtx`` or a key of `READERS`.
        findings: is told of what is not read.
        names_asked: whether ``label`` is asked for as a label.

    Raises:
        ValueError: a damaged file.
    """
    if ending == ".mtx":
        return [_matrix_market(path) for path in files]
    tables = [_read(path, ending, findings) for path in files]
    if names_asked or (ending == ".graphml" and not all(map(_are_names, tables))):
        return tables
    for table in tables:
        if (names := table.nodes.pop("label", None)) is not None:
            table.shown = ["" if name is None else str(name) for name in names]
            findings.note(NAMES, table.name)
    return tables


READERS: dict[str, tuple[str, Callable[[IO[bytes]], Any]]] = {
    ".graphml": ("GraphML", nx.read_graphml),
    ".gexf": ("GEXF", nx.read_gexf),
    ".gml": ("GML", lambda file: nx.read_gml(file, label="id")),
    ".net": ("Pajek", nx.read_pajek),
    ".paj": ("Pajek", nx.read_pajek),
}
"""What a file is called, and how it is read, by its ending."""


def _read(path: Path, ending: str, findings: Findings) -> Table:
    kind, read = READERS[ending]
    try:
        with _opened(path) as file:
            graph = read(file)
    except Exception as error:  # networkx and the XML reader raise kinds of their own
        told = str(error).rstrip(".")
        raise ValueError(f"{path.name!r} must be {kind}, but cannot be read: {told}.") from error
    keys = list(graph)
    number_of = {key: number for number, key in enumerate(keys)}
    joined = list(graph.edges(data=True))
    edges = np.array([[number_of[a] for a, _, _ in joined], [number_of[b] for _, b, _ in joined]], dtype=np.int64)
    nodes = _columns([graph.nodes[key] for key in keys])
    values = _columns([cells for _, _, cells in joined])
    if values.pop("id", None) is not None:
        findings.note(EDGE_NAMES, path.name)
    if kind == "Pajek":
        for place in PAJEK_OWN:
            nodes.pop(place, None)
        findings.note(PLACES, path.name)
    return Table(
        path.name, [str(key) for key in keys], nodes, edges.reshape(2, -1), values, dict(graph.graph), path.name,
        undirected=not graph.is_directed(),
    )  # fmt: skip


def _are_names(table: Table) -> bool:
    """Whether ``label`` names nodes: no two are alike, and they are no measured numbers."""
    words = [str(one) for one in table.nodes.get("label", ()) if one not in (None, "")]
    numbers = [number_in(word) for word in words]
    measured = bool(words) and None not in numbers and any(number % 1 for number in numbers if number is not None)
    return len({*words}) == len(words) > 1 and not measured


def _matrix_market(path: Path) -> Table:
    """Rows and columns are nodes, entries edges, with a value where the file has such."""
    try:
        # scipy's reader aborts where Python's raises, so nothing may go wrong in a file that it is given; and it reads
        # beyond the end of a file that ends in a carriage return.
        with _opened(path) as file:
            source = file.read().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        rows, columns, num_entries, _, kind, _ = scipy.io.mminfo(io.BytesIO(source))
        check_unpacked(max(NODE * rows, 8 * num_entries), path.stat().st_size, path.name)
        matrix = scipy.sparse.coo_matrix(scipy.io.mmread(io.BytesIO(source)))
    except Exception as error:  # scipy's reader raises kinds of its own
        told = str(error).rstrip(".")
        raise ValueError(f"{path.name!r} must be Matrix Market, but cannot be read: {told}.") from error
    if rows != columns or kind == "complex":
        found = f"{rows:,} by {columns:,}" if rows != columns else "of complex numbers"
        raise ValueError(f"{path.name!r} must be a square matrix of real numbers, but is {found}.")
    values: Columns = {} if kind == "pattern" else {"value": matrix.data.tolist()}
    edges = np.stack([matrix.row, matrix.col]).astype(np.int64)
    names = [str(number) for number in range(1, rows + 1)]
    return Table(path.name, names, {}, edges, values, {}, path.name)


def _opened(path: Path) -> IO[bytes]:
    return open_gzip(path, path.name) if path.suffix.lower() == ".gz" else path.open("rb")


def _columns(rows: list[dict[str, Any]]) -> Columns:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
