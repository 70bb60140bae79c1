"""Graph classification sets of TU Dortmund (Morris et al. 2020), and the text files of GIN's repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from unmask.api import nearest, quoted
from unmask.data import Findings, is_hidden
from unmask_graph.data.graphs import RawGraph, RawGraphs
from unmask_graph.data.module import GraphData
from unmask_graph.data.sources import GraphSource

NOT_READ = "parts of the labels of graphs are not read"
FEATURES = ("auto", "tags", "attributes", "degrees")


class TUData(GraphData):
    """Many small graphs with a class each (MUTAG, PROTEINS, IMDB-BINARY, ...), in either of two layouts.

    TU Dortmund's: a folder with ``NAME_A.txt``, ``NAME_graph_indicator.txt``, ``NAME_graph_labels.txt`` (classes) or
    ``NAME_graph_attributes.txt`` (one number to predict or several), and perhaps ``NAME_node_labels.txt``,
    ``NAME_node_attributes.txt``, ``NAME_edge_labels.txt``, ``NAME_edge_attributes.txt``. Edge labels (one-hot) and edge
    attributes become edge values. Each column of labels of nodes or edges is one-hot.

    GIN's (Xu et al. 2019): one text file; its first line the number of graphs, then of each graph a line
    ``number-of-nodes class`` and a line per node ``tag number-of-neighbours neighbours... attributes...``.

    Args:
        path: the folder, or the text file, or a folder with several of either.
        name: which of several; None: the only one there is.
        features: of nodes: ``tags`` (one-hot), ``attributes``, ``degrees`` (one-hot, 400 and more in one column);
            ``auto``: tags where there are at least two, else attributes, else degrees, as GraphMAE's reference code
            does with these sets.
        val_ratio: share of the graphs held out for validation, in [0, 1); 0, as in the papers: train on all.

    Raises:
        ValueError: in `setup`, no such file, one that does not fit its layout, or features it does not have.

    Further arguments are those of `GraphData` that concern whole graphs.
    """

    def __init__(
        self,
        path: str,
        name: str | None = None,
        features: Literal["auto", "tags", "attributes", "degrees"] = "auto",
        batch_size: int = 32,
        val_ratio: float = 0.0,
        **shared: Any,
    ) -> None:
        # Whole graphs are the samples: nothing is sampled from one, and no nodes are chosen to train on.
        super().__init__(
            source=TUSource(path, name, features), batch_size=batch_size, val_ratio=val_ratio, sampling=None,
            train_ratio=0.5, steps_per_epoch=1, **shared,
        )  # fmt: skip


@dataclass
class TUSource(GraphSource):
    """Those graphs; the fields are options of `TUData`."""

    path: str
    name: str | None = None
    features: Literal["auto", "tags", "attributes", "degrees"] = "auto"

    def __post_init__(self) -> None:
        if self.features not in FEATURES:
            near = quoted(nearest(self.features, FEATURES) or FEATURES)
            raise ValueError(
                f"`features` must be one of {quoted(FEATURES)}, but is {self.features!r}; nearest: {near}."
            )

    def read(self, findings: Findings) -> RawGraphs:
        prefix = _find(Path(self.path).expanduser(), self.name)
        try:
            table = _read_gin(prefix) if prefix.suffix == ".txt" else _read_tu(prefix)
        except (ValueError, IndexError) as error:
            told = str(error).rstrip(".")
            raise ValueError(
                f"{str(prefix)!r} must be of TU Dortmund's or GIN's layout, but is not: {told}."
            ) from error
        columns, what, names = _features(table, self.features)
        for part in table.not_read:
            findings.note(NOT_READ, part)
        classes: list[str] = []
        labels: list[Any]
        if table.graph_labels.dtype.kind == "f":
            labels = [row[0] if len(row) == 1 else tuple(row) for row in table.graph_labels.tolist()]
        else:
            kinds, numbers = np.unique(table.graph_labels, return_inverse=True)
            classes, labels = [str(one) for one in kinds], numbers.tolist()
        raw = []
        for number, (start, end) in enumerate(zip(table.offsets, table.offsets[1:], strict=False)):
            first, last = table.edge_offsets[number], table.edge_offsets[number + 1]
            x = None if columns is None else columns[start:end]
            values = None if table.edge_values is None else table.edge_values[first:last]
            edges = table.edges[:, first:last] - start
            raw.append(RawGraph(x, edges, values, labels[number], f"Graph {number}", int(end - start)))
            raw[-1].title = f"{prefix.stem if prefix.suffix == '.txt' else prefix.name} {number}"
        return RawGraphs(raw, classes, names=names, features=what)


class _Table(NamedTuple):
    """All graphs one after another.

    Args:
        offsets: ``[G + 1]``, of nodes.
        edges: ``[2, E]``, ordered by graph, numbered through all graphs.
        edge_offsets: ``[G + 1]``.
        graph_labels: int ``[G]`` of classes, or float ``[G, C]`` of numbers to predict.
        tags: ``[T, K]`` int, or None.
        attributes: ``[T, A]``, or None.
        edge_values: ``[E, V]``, or None.
        not_read: parts that are left out.
    """

    offsets: np.ndarray
    edges: np.ndarray
    edge_offsets: np.ndarray
    graph_labels: np.ndarray
    tags: np.ndarray | None
    attributes: np.ndarray | None
    edge_values: np.ndarray | None
    not_read: tuple[str, ...] = ()


def _find(path: Path, name: str | None) -> Path:
    """The text file of GIN's layout, or what the file names of TU Dortmund's begin with."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"`path` must be a folder or a file, but there is no {str(path)!r}.")
    found = {one.name.removesuffix("_A.txt"): one.with_name(one.name.removesuffix("_A.txt")) for one in _in(path)}
    if not found:
        found = {one.stem: one for one in sorted(path.glob("*.txt")) if not is_hidden(one, path) and _is_gin(one)}
    if not found:
        raise ValueError(f"`path` must have files of TU Dortmund's or GIN's layout, but {str(path)!r} has none.")
    if name is None and len(found) > 1:
        raise ValueError(f"`name` must say which of {quoted(found)} to read, but is None.")
    if name is not None and name not in found:
        near = quoted(nearest(name, found) or found)
        raise ValueError(f"`name` must be one of {quoted(found)}, but is {name!r}; nearest: {near}.")
    return found[name] if name is not None else next(iter(found.values()))


def _in(path: Path) -> list[Path]:
    """In the folder itself, and as PyG and the archives keep them: ``NAME/raw/NAME_A.txt``, ``NAME/NAME_A.txt``."""
    found = {*path.glob("*_A.txt"), *path.glob("*/*_A.txt"), *path.glob("*/raw/*_A.txt")}
    return sorted(one for one in found if one.is_file() and not is_hidden(one, path))


def _is_gin(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().strip().isdigit() and len(file.readline().split()) == 2


def _read_gin(path: Path) -> _Table:
    lines = path.read_text().splitlines()
    sizes: list[int] = []
    labels: list[int] = []
    tags: list[int] = []
    attributes: list[list[float]] = []
    joined: list[tuple[int, int]] = []
    counts: list[int] = []
    at, first = 1, 0
    for _ in range(int(lines[0])):
        size, label = (int(word) for word in lines[at].split())
        num_edges = 0
        for node, line in enumerate(lines[at + 1 : at + 1 + size]):
            words = line.split()
            degree = int(words[1])
            neighbours = [int(word) for word in words[2 : 2 + degree]]
            if len(neighbours) != degree or any(not 0 <= other < size for other in neighbours):
                raise ValueError(f"line {at + 2 + node} must name {degree} of {size} nodes.")
            tags.append(int(words[0]))
            attributes.append([float(word) for word in words[2 + degree :]])
            joined += [(first + node, first + other) for other in neighbours]
            num_edges += degree
        at, first = at + 1 + size, first + size
        if len(tags) != first:
            raise ValueError(f"graph {len(sizes)} must have {size} nodes, but the file ends before.")
        sizes.append(size)
        labels.append(label)
        counts.append(num_edges)
    edges = np.array(joined, dtype=np.int64).reshape(-1, 2).T
    wide = np.array(attributes, dtype=np.float32) if attributes and attributes[0] else None
    return _Table(_offsets(sizes), edges, _offsets(counts), np.array(labels), np.array(tags)[:, None], wide, None)


def _read_tu(prefix: Path) -> _Table:
    def table(part: str, kind: Any, needed: bool = False) -> np.ndarray | None:
        path = prefix.with_name(f"{prefix.name}_{part}.txt")
        if not path.is_file():
            if needed:
                raise ValueError(f"there is no `{path.name}`.")
            return None
        return np.loadtxt(path, dtype=kind, delimiter=",", ndmin=2)

    edges = table("A", np.int64, True).T - 1  # type: ignore[union-attr]
    owner = table("graph_indicator", np.int64, True)[:, 0] - 1  # type: ignore[index]
    labels, not_read = _graph_labels(table("graph_labels", np.int64), table("graph_attributes", np.float64))
    if labels is None:
        raise ValueError(f"there is neither `{prefix.name}_graph_labels.txt` nor `{prefix.name}_graph_attributes.txt`.")
    num_graphs = len(labels)
    if (np.diff(owner) < 0).any() or owner.min(initial=0) < 0 or owner.max(initial=0) >= num_graphs:
        raise ValueError(f"`{prefix.name}_graph_indicator.txt` must count up from 1 to {num_graphs}.")
    if edges.size and (edges.min() < 0 or edges.max() >= len(owner)):
        raise ValueError(f"`{prefix.name}_A.txt` must name nodes from 1 to {len(owner)}.")
    of = owner[edges]
    if (of[0] != of[1]).any():
        source, target = edges[:, np.flatnonzero(of[0] != of[1])[0]] + 1
        raise ValueError(f"nodes {source} and {target} must be of one graph to be joined.")
    order = np.argsort(of[0], kind="stable")
    tags, attributes = table("node_labels", np.int64), table("node_attributes", np.float32)
    kinds, values = table("edge_labels", np.int64), table("edge_attributes", np.float32)
    for name, rows, count in (
        ("node_labels", tags, len(owner)), ("node_attributes", attributes, len(owner)),
        ("edge_labels", kinds, edges.shape[1]), ("edge_attributes", values, edges.shape[1]),
    ):  # fmt: skip
        if rows is not None and len(rows) != count:
            raise ValueError(f"`{prefix.name}_{name}.txt` must have {count} lines, but has {len(rows)}.")
    parts = [one for one in (None if kinds is None else _one_hot(kinds), values) if one is not None]
    return _Table(
        _offsets(np.bincount(owner, minlength=num_graphs)), edges[:, order],
        _offsets(np.bincount(of[0], minlength=num_graphs)), labels,
        tags, attributes,
        np.concatenate(parts, axis=1)[order] if parts else None, not_read,
    )  # fmt: skip


def _graph_labels(classes: np.ndarray | None, numbers: np.ndarray | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Classes ``[G]``, or numbers ``[G, C]``, and what is not read of them."""
    if classes is None:
        return numbers, ()
    not_read = [f"{classes.shape[1] - 1} further columns of graph labels"] if classes.shape[1] > 1 else []
    if numbers is not None:
        not_read.append("graph attributes, beside graph labels")
    return classes[:, 0], tuple(not_read)


def _features(table: _Table, kind: str) -> tuple[torch.Tensor | None, str, list[str]]:
    """``[T, F]`` of all nodes, None for degrees; what they are; and the names of the columns of kinds."""
    tags, attributes = table.tags, table.attributes
    if kind == "auto":
        varied = tags is not None and any(len(np.unique(column)) > 1 for column in tags.T)
        kind = "tags" if varied else "attributes" if attributes is not None else "degrees"
    if kind == "degrees":
        return None, "degrees as features", []
    found = {"tags": None if tags is None else _one_hot(tags), "attributes": attributes}[kind]
    if found is None:
        have = quoted([name for name, one in (("tags", tags), ("attributes", attributes)) if one is not None])
        raise ValueError(f"`features` must be 'degrees'{f' or {have}' if have else ''} for this data, but is {kind!r}.")
    names = _names(tags) if kind == "tags" and tags is not None else []
    return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32)), f"{kind} as features", names


def _one_hot(kinds: np.ndarray) -> np.ndarray:
    """``[n, K']`` of ``[n, K]``: one-hot by column, side by side."""
    parts = []
    for column in kinds.T:
        names, which = np.unique(column, return_inverse=True)
        parts.append(np.eye(len(names), dtype=np.float32)[which])
    return np.concatenate(parts, axis=1)


def _names(kinds: np.ndarray) -> list[str]:
    """Of the columns of `_one_hot`."""
    return [f"{number}={kind}" for number, column in enumerate(kinds.T) for kind in np.unique(column)]


def _offsets(counts: Any) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))])
