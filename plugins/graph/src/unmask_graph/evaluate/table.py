"""The table of a protocol with what its numbers mean: as plain text, and as JSON that ``unmask report`` shows."""

from __future__ import annotations

import io
import json
from dataclasses import asdict

from rich.console import Console

from unmask.api import COSTS, STRENGTHS, ProbeResult, table
from unmask_graph.evaluate.nodes import Fit


def plain(result: ProbeResult, task: str, pool: str, about: str = "", fit: Fit = Fit(), width: int = 200) -> str:
    """The table as text without colours, and its caption."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    console.print(table(result))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    return "\n".join(lines).strip("\n") + "\n\n" + caption(result, task, pool, about, fit) + "\n"


def to_json(result: ProbeResult, task: str, pool: str, about: str = "", fit: Fit = Fit()) -> str:
    """Every score, and the caption."""
    kept = ("rows", "columns", "num_train", "num_test", "num_classes", "num_runs")
    content: dict[str, object] = {"task": task}
    if task == "nodes":
        content["fit"] = asdict(fit)
    content |= {key: value for key, value in result.as_dict().items() if key in kept}
    return json.dumps(content | {"caption": caption(result, task, pool, about, fit)}, indent=2) + "\n"


def caption(result: ProbeResult, task: str, pool: str, about: str = "", fit: Fit = Fit()) -> str:
    """What the numbers mean.

    Args:
        result: what was measured.
        task: ``nodes``, ``graphs`` or ``links``.
        pool: of the nodes' codes of a graph.
        about: sentences on the runs.
        fit: of the linear layer for nodes.
    """
    strengths, costs = (", ".join(f"{one:g}" for one in grid) for grid in (STRENGTHS, COSTS))
    told = {
        "nodes": f"{result.num_classes} classes, {result.num_train:,} nodes to fit, {result.num_test:,} to score on. "
        f"One linear layer on codes as they are, {fit}.",
        "graphs": f"{result.num_classes} classes, {result.num_train:,} graphs, codes of nodes pooled by {pool}. RBF "
        f"SVM on vectors as they are, C of {{{costs}}} by inner folds, {len(result.parts)} stratified folds, "
        "shuffled by seed 0.",
        "links": f"{result.num_test:,} pairs to score, half of them edges that no encoder has seen. Dot product of "
        f"both codes; logistic regression on their product, {result.num_train:,} pairs to fit, C of {{{strengths}}} by "
        "the AUC of held-out pairs.",
    }[task]
    errors = any(row.error(column) is not None for row in result.rows for column in result.columns)
    spread = f"± standard error over {result.over}; gains are paired." if errors else ""
    return "\n".join(line for line in (about, told, spread) if line)
