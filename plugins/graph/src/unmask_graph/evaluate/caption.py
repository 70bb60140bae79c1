"""What the numbers of a protocol mean."""

from __future__ import annotations

from dataclasses import asdict, replace

from unmask.api import COSTS, STRENGTHS, Results
from unmask_graph.evaluate.nodes import Fit


def captioned(result: Results, task: str, pool: str = "mean", fit: Fit = Fit()) -> Results:
    """``result`` with its caption, and in its details the task and how it was done.

    Args:
        result: what `measure` found, of one run or over several.
        task: ``nodes``, ``graphs`` or ``links``.
        pool: of the nodes' codes of a graph.
        fit: of the linear layer for nodes.
    """
    facts = result.details
    classes, train, test = (facts[name] for name in ("num_classes", "num_train", "num_test"))
    strengths, costs = (", ".join(f"{one:g}" for one in grid) for grid in (STRENGTHS, COSTS))
    told = {
        "nodes": f"{classes} classes, {train:,} nodes to fit, {test:,} to score on. "
        f"One linear layer on codes as they are, {fit}.",
        "graphs": f"{classes} classes, {train:,} graphs, codes of nodes pooled by {pool}. RBF "
        f"SVM on vectors as they are, C of {{{costs}}} by inner folds, {len(facts.get('parts', ()))} stratified folds, "
        "shuffled by seed 0.",
        "links": f"{test:,} pairs to score, half of them edges that no encoder has seen. Dot product of "
        f"both codes; logistic regression on their product, {train:,} pairs to fit, C of {{{strengths}}} by "
        "the AUC of held-out pairs.",
    }[task]
    spread = f"± standard error over {facts['over']}; gains are paired." if result.has_errors else ""
    how = {"task": task, "fit": asdict(fit)} if task == "nodes" else {"task": task}
    return replace(result, caption=[told, spread], details=facts | how)
