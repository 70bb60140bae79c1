"""What was found in graphs: nothing odd is mended or left out without being counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from unmask.data import Findings


@dataclass
class Report:
    """Counts of one reading.

    Args:
        num_graphs: with at least one node.
        num_nodes: of all graphs.
        num_edges: joined pairs where graphs are read as undirected, edges where as directed.
        num_features: F, features of a node.
        num_classes: of labels.
        features: what the features are.
        num_empty_graphs: without a node; left out.
        num_one_node_graphs: in which nothing can be hidden; probes see them, pretraining does not.
        num_graphs_without_edges: of those with nodes; kept.
        num_isolated_nodes: without an edge; kept.
        num_self_loops: left out: encoders add their own.
        num_duplicate_edges: named more than once in one direction; read as one, with the first one's values.
        num_added_reverses: edges that were named in one direction alone, and are read as undirected.
        num_unlabelled: nodes or graphs without a label.
        findings: what else was odd, and the first names of it.
    """

    num_graphs: int = 0
    num_nodes: int = 0
    num_edges: int = 0
    num_features: int = 0
    num_classes: int = 0
    features: str = "features"
    num_empty_graphs: int = 0
    num_one_node_graphs: int = 0
    num_graphs_without_edges: int = 0
    num_isolated_nodes: int = 0
    num_self_loops: int = 0
    num_duplicate_edges: int = 0
    num_added_reverses: int = 0
    num_unlabelled: int = 0
    findings: Findings = field(default_factory=Findings)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and strings."""
        return asdict(self) | {"findings": self.findings.as_dict()}

    def __str__(self) -> str:
        graphs = "1 graph" if self.num_graphs == 1 else f"{self.num_graphs:,} graphs"
        classes = f", {self.num_classes:,} classes" if self.num_classes else ""
        told = f"{graphs}: {self.num_nodes:,} nodes, {self.num_edges:,} edges, {self.num_features:,} {self.features}"
        odd = [text.format(f"{getattr(self, name):,}") for name, text in _ODD.items() if getattr(self, name)]
        lines = [f"{told}{classes}.", *([f"Odd: {'; '.join(odd)}."] if odd else []), *self.findings.lines()]
        return "\n".join(lines)


_ODD = {
    "num_empty_graphs": "{} graphs without a node left out",
    "num_one_node_graphs": "{} graphs of one node, in which nothing can be hidden, not trained on",
    "num_graphs_without_edges": "{} graphs without an edge",
    "num_isolated_nodes": "{} nodes without an edge",
    "num_self_loops": "{} self-loops left out",
    "num_duplicate_edges": "{} duplicate edges left out",
    "num_added_reverses": "{} edges of one direction read as undirected",
    "num_unlabelled": "{} without a label",
}
