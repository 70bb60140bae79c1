"""Graphs as they are trained on: whatever the source, with the same rules for what is odd."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.api import IGNORED
from unmask.data import Sample
from unmask_graph.data.report import Report
from unmask_graph.data.values import Missing, Settled, fill, finite, table_of

FEW = 100
"""Values of a column that may stand for kinds of things, and columns that are looked at for such."""
KINDS = (
    "features are whole numbers of few values, read as real numbers; where they stand for kinds, name them in "
    "`categories`, which makes one column of 0 and 1 for each kind (one-hot)"
)
ONE_WAY = "files hold undirected graphs, whose edges run both ways in spite of `directed`"
MOST_WITHOUT_FEATURES = 100_000_000
"""Nodes of a graph whose features are degrees: some 400 numbers a node."""


@dataclass
class RawGraph:
    """One graph as its source has it.

    Args:
        x: ``[N, F]`` features of the nodes; None: it has none.
        edges: int ``[2, E]``, source and target among the N nodes.
        edge_values: ``[E, V]``, or None.
        label: class of the graph; or of its nodes ``[N]`` (``[N, C]`` of 0 and 1 for several at once), below 0
            where there is none; a float is a number to predict, a tuple of the graph are several; or None.
        name: what errors call it.
        num_nodes: N, where there are no features that tell.
        undirected: whether each edge is named once and runs both ways.
        title: its own name, such as that of its file.
        node_names: the nodes' own names; None: they have none.
        nodes_name: what errors call the table of its nodes; None: as the graph.
    """

    x: Any
    edges: Any
    edge_values: Any = None
    label: Any = None
    name: str = "The graph"
    num_nodes: int | None = None
    undirected: bool = False
    title: str = ""
    node_names: Sequence[str] | None = None
    nodes_name: str | None = None


class RawGraphs(NamedTuple):
    """What a source has.

    Args:
        graphs: one or more.
        classes: names of labels 0, 1, 2, ...; empty: labels are numbers to predict, or there are none.
        masks: see `Graphs`.
        names: of the features' columns; empty: they are called by their numbers.
        features: what the features are, in the report.
        edge_names: of the columns of edges' values; empty: they are called by their numbers.
    """

    graphs: Sequence[RawGraph]
    classes: Sequence[str] = ()
    masks: Mapping[str, Tensor] = {}
    names: Sequence[str] = ()
    features: str = "features"
    edge_names: Sequence[str] = ()


@dataclass
class Graphs:
    """What was read.

    Args:
        samples: ``{"x": [N, F], "edges": [2, E], "name": ...}`` with ``edge_values`` ``[E, V]``, ``label`` and
            ``node_names`` where there are any.
        report: counts of what is odd.
        classes: names of the labels, where they have some.
        masks: of a single graph with labels of nodes: which of them are for ``train``, ``val`` and ``test``,
            bool ``[N]`` each; empty: the source does not say.
        names: of the features' columns; empty: they have none.
        edge_names: of the columns of edges' values; empty: they have none.
    """

    samples: list[Sample]
    report: Report
    classes: list[str] = field(default_factory=list)
    masks: dict[str, Tensor] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    edge_names: list[str] = field(default_factory=list)

    @property
    def per_node(self) -> bool:
        """Whether labels are of nodes."""
        return isinstance(self.samples[0].get("label"), Tensor)


def collect(
    given: RawGraphs, directed: bool, report: Report, missing: Missing = "refuse", settled: Settled | None = None
) -> Graphs:
    """All graphs, clean; where none has features, those of a node are its degree, see `degree_features`.

    Args:
        given: graphs as their source has them.
        directed: whether edges keep their direction.
        report: counts what is odd.
        missing: what becomes of features and edges' values that are not finite, see `GraphData`.
        settled: what they are filled with, see `fill`.

    Raises:
        ValueError: a graph with features beside one without, of another width or without labels where others
            have some; a graph without features of more than 100 million nodes; or as `clean`.
    """
    raw = given.graphs
    report.num_classes, report.features = len(given.classes), given.features
    if raw and all(graph.x is None for graph in raw):
        for graph in raw:
            if (graph.num_nodes or 0) > MOST_WITHOUT_FEATURES:
                raise ValueError(
                    f"{graph.name} must have at most {MOST_WITHOUT_FEATURES:,} nodes where it has no features, but "
                    f"has {graph.num_nodes:,}."
                )
        degrees = [degrees_of(ends(graph, graph.num_nodes or 0), graph.num_nodes or 0) for graph in raw]
        raw = [replace(graph, x=x) for graph, x in zip(raw, degree_features(degrees), strict=True)]
        report.features = "degrees as features"
    for graph in raw:
        if graph.x is None:
            raise ValueError(f"{graph.name} must have features as the other graphs, but has none.")
        if graph.x.shape[-1] != raw[0].x.shape[-1]:
            raise ValueError(
                f"{graph.name} must have {raw[0].x.shape[-1]} features as {raw[0].name}, but has {graph.x.shape[-1]}."
            )
        for what in ("label", "edge_values"):
            if (getattr(graph, what) is None) != (getattr(raw[0], what) is None):
                raise ValueError(f"All graphs or none must have `{what}`, but {raw[0].name} and {graph.name} differ.")
        if graph.edge_values is not None and (wide := _columns(graph.edge_values)) != _columns(raw[0].edge_values):
            raise ValueError(
                f"{graph.name} must have {_columns(raw[0].edge_values)} edge values as {raw[0].name}, but has {wide}."
            )
        if _width(graph.label) != _width(raw[0].label):
            raise ValueError(
                f"{graph.name} must have {_width(raw[0].label)} labels as {raw[0].name}, or one for each node in every "
                f"graph, but has {_width(graph.label)}."
            )
    names = given.names, given.edge_names
    if missing != "refuse":
        raw, names = _filled(raw, names, missing, report, {} if settled is None else settled)
    cleaned = [clean(graph, directed, report, names) for graph in raw]
    samples = [sample for sample in cleaned if sample is not None]
    _note_kinds(samples, names[0], report)
    return Graphs(samples, report, list(given.classes), dict(given.masks), [*names[0]], [*names[1]])


def clean(
    graph: RawGraph, directed: bool, report: Report, names: tuple[Sequence[str], Sequence[str]] = ((), ())
) -> Sample | None:
    """A sample of a graph: features finite, edges ordered by source then target, without duplicates and self-loops.

    Args:
        graph: as its source has it.
        directed: whether edges keep their direction; else each one is given its reverse.
        report: counts what is odd.
        names: of the features' columns, and of those of edges' values.

    Returns:
        The sample; None where the graph has no node.

    Raises:
        ValueError: features or edge values that are not finite or of another shape, edges to nodes that are not
            there, or labels of another number than nodes.
    """
    x = finite(graph.x, "Features", graph.nodes_name or graph.name, names[0], graph.node_names)
    num_nodes = len(x)
    edges = ends(graph, num_nodes)
    values = None if graph.edge_values is None else finite(graph.edge_values, "Edge values", graph.name, names[1])
    if values is not None and len(values) != edges.shape[1]:
        raise ValueError(
            f"{graph.name} must have values for each of its {edges.shape[1]} edges, but has {len(values)} rows."
        )
    if num_nodes == 0:
        report.num_empty_graphs += 1
        return None

    if directed and graph.undirected:
        report.findings.note(ONE_WAY, graph.name)
        edges = torch.cat([edges, edges.flip(0)], dim=1)
        values = None if values is None else torch.cat([values, values])
    edges, values = _tidy(edges, values, num_nodes, directed, report)
    report.num_graphs += 1
    report.num_nodes += num_nodes
    report.num_features = x.shape[1]
    report.num_edges += edges.shape[1] if directed else edges.shape[1] // 2
    report.num_one_node_graphs += num_nodes == 1
    report.num_graphs_without_edges += edges.shape[1] == 0
    report.num_isolated_nodes += num_nodes - len(edges.unique())
    sample: Sample = {"x": x, "edges": edges, "name": graph.title or graph.name}
    if graph.node_names is not None:
        sample["node_names"] = [*graph.node_names]
    if values is not None:
        sample["edge_values"] = values
    if graph.label is not None:
        sample["label"] = _label(graph, num_nodes, report)
    return sample


def _columns(values: Any) -> int:
    return values.shape[1] if values.ndim > 1 else 1


def _width(label: Any) -> int:
    """How many labels a graph has as a whole."""
    return len(label) if isinstance(label, tuple) else 1


def _filled(
    raw: Sequence[RawGraph],
    names: tuple[Sequence[str], Sequence[str]],
    missing: Missing,
    report: Report,
    settled: Settled,
) -> tuple[list[RawGraph], tuple[Sequence[str], Sequence[str]]]:
    """Graphs without gaps, and the names of their columns."""
    x, own = fill(
        [table_of(graph.x, "Features", graph.name) for graph in raw], names[0], missing, "features",
        report.findings, settled,
    )  # fmt: skip
    raw = [replace(graph, x=one) for graph, one in zip(raw, x, strict=True)]
    if not raw or raw[0].edge_values is None:
        return raw, (own, names[1])
    values, of_edges = fill(
        [table_of(graph.edge_values, "Edge values", graph.name) for graph in raw], names[1], missing,
        "columns of edge values", report.findings, settled,
    )  # fmt: skip
    return [replace(graph, edge_values=one) for graph, one in zip(raw, values, strict=True)], (own, of_edges)


def _note_kinds(samples: list[Sample], names: Sequence[str], report: Report) -> None:
    """Says which features look like kinds of things: whole numbers of few values, other than 0 and 1."""
    if not samples or samples[0]["x"].shape[1] > FEW:
        return
    every = torch.cat([sample["x"] for sample in samples])
    for number, column in enumerate(every.unbind(1)):
        if not torch.equal(column[:1000], column[:1000].round()):
            continue
        values = column.unique()
        if 3 <= len(values) <= min(FEW, len(column) // 2) and torch.equal(values, values.round()):
            name = f"`{names[number]}`" if names else f"column {number}"
            report.findings.note(KINDS, f"{name} ({values[0]:.0f} to {values[-1]:.0f})")


def ends(graph: RawGraph, num_nodes: int) -> Tensor:
    """Numbers of source and target, int64 ``[2, E]``.

    Raises:
        ValueError: another shape, numbers that are not whole, or those of nodes that are not there.
    """
    given = torch.as_tensor(np.asarray(graph.edges))
    if given.numel() == 0:
        return torch.empty(2, 0, dtype=torch.long)
    if given.ndim != 2 or len(given) != 2:
        raise ValueError(f"Edges of {graph.name} must have the shape [2, E], but have {list(given.shape)}.")
    edges = given.long()
    if not bool((edges == given).all()):
        raise ValueError(f"Edges of {graph.name} must be whole numbers, but are not.")
    outside = ((edges < 0) | (edges >= num_nodes)).any(0).nonzero()
    if len(outside):
        source, target = edges[:, outside[0, 0]].tolist()
        raise ValueError(
            f"Edges of {graph.name} must join nodes in [0, {num_nodes - 1}], but one joins {source} and {target}."
            if num_nodes
            else f"{graph.name} must have nodes to have edges, but has none."
        )
    return edges


def degree_features(degrees: list[Tensor], most: int = 400) -> list[Tensor]:
    """One-hot degrees of graphs without features ``[N, min(largest, most) + 1]`` each (GraphMAE's reference code).

    Args:
        degrees: int64 ``[N]`` of each graph's nodes.
        most: higher degrees share the last column.
    """
    largest = min(max((int(one.max()) for one in degrees if len(one)), default=0), most)
    return [torch.nn.functional.one_hot(one.clamp(max=largest), largest + 1).float() for one in degrees]


def degrees_of(edges: Tensor, num_nodes: int) -> Tensor:
    """How many nodes each node is joined with, in either direction; itself not counted: int64 ``[N]``."""
    tidy, _ = _tidy(edges, None, num_nodes, False, Report())
    return torch.bincount(tidy[1], minlength=num_nodes)


def _tidy(
    edges: Tensor, values: Tensor | None, num_nodes: int, directed: bool, report: Report
) -> tuple[Tensor, Tensor | None]:
    """Edges without self-loops and duplicates, with their reverses unless directed, ordered."""
    loops = edges[0] == edges[1]
    report.num_self_loops += int(loops.sum())
    edges = edges[:, ~loops]
    values = None if values is None else values[~loops]
    first = _firsts(edges[0] * num_nodes + edges[1])
    report.num_duplicate_edges += edges.shape[1] - len(first)
    edges, values = edges[:, first], None if values is None else values[first]
    if directed:
        return edges, values
    whole = torch.cat([edges, edges.flip(0)], dim=1)
    keys = whole[0] * num_nodes + whole[1]
    first = _firsts(keys)  # an edge's own values come before those of its reverse
    report.num_added_reverses += len(first) - edges.shape[1]
    return whole[:, first], None if values is None else torch.cat([values, values])[first]


def _firsts(keys: Tensor) -> Tensor:
    """Where each key is found first, in the order of keys."""
    ordered, order = keys.sort(stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return order[first]


def _label(graph: RawGraph, num_nodes: int, report: Report) -> Any:
    if isinstance(graph.label, tuple):  # several of one graph
        known = [math.isfinite(one) and (isinstance(one, float) or one >= 0) for one in graph.label]
        report.num_unlabelled += not any(known)
        nothing = math.nan if any(isinstance(one, float) for one in graph.label) else IGNORED
        return tuple(one if there else nothing for one, there in zip(graph.label, known, strict=True))
    if isinstance(graph.label, float):
        report.num_unlabelled += not math.isfinite(graph.label)
        return graph.label if math.isfinite(graph.label) else math.nan
    if isinstance(graph.label, int):
        report.num_unlabelled += graph.label < 0
        return IGNORED if graph.label < 0 else int(graph.label)
    label = torch.as_tensor(np.asarray(graph.label))
    if len(label) != num_nodes:
        raise ValueError(
            f"{graph.name} must have a label for each of its {num_nodes} nodes, but has {len(label)} of them."
        )
    if label.is_floating_point():
        label = label.where(label.isfinite(), math.nan)
        report.num_unlabelled += int(label.isnan().reshape(num_nodes, -1).any(1).sum())
        return label
    label = torch.where(label < 0, IGNORED, label.long())
    report.num_unlabelled += int((label == IGNORED).reshape(num_nodes, -1).any(1).sum())
    return label
