"""A run by a published protocol, as a table of columns: what ``unmask graph-probe`` and the benchmark print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from unmask import Embedder, MaskedModel, seeds
from unmask.api import IGNORED, Cell, Measure, Results, Row, Watch, are_measured, batches, vectors
from unmask_graph.data.batches import Chosen
from unmask_graph.data.links import LinkData
from unmask_graph.data.module import GraphData
from unmask_graph.evaluate.columns import columns, node_codes
from unmask_graph.evaluate.graphs import graph_vectors, svm_probe
from unmask_graph.evaluate.links import dot_scores, fitted_scores
from unmask_graph.evaluate.nodes import Fit, linear_probe

Task = Literal["nodes", "graphs", "links"]
TASKS: tuple[str, ...] = get_args(Task)
LAST, BEST = "linear, last epoch", "linear, best validation epoch"
DOT, FITTED = "dot product", "logistic regression"
ACCURACY, AUC, AP = Measure("accuracy", percent=True), Measure("AUC"), Measure("AP")


def measure(
    model: MaskedModel,
    untrained: MaskedModel,
    datamodule: GraphData,
    task: Task,
    *,
    pool: str = "mean",
    seed: int = 0,
    fit: Fit = Fit(),
    device: torch.device | str = "cpu",
    watch: Watch = lambda what, done, total: None,
) -> Results:
    """One of three protocols on frozen codes: `linear_probe` of nodes, `svm_probe` of graphs, or links told by
    `dot_scores` and `fitted_scores`.

    Args:
        model: a trained model; its `embedder` is measured.
        untrained: the same model as it was initialised.
        datamodule: with labels of nodes or of graphs; for links a `LinkData`, so that no encoder has seen those
            that are scored.
        task: what to tell from codes.
        pool: of a graph's codes, and of its raw values: ``sum``, ``mean`` or ``max``.
        seed: of the linear layer that is fitted for nodes.
        fit: how that layer is fitted.
        device: where codes are computed.
        watch: see `unmask.tools.probe.columns.Watch`.

    Raises:
        ValueError: data that lacks what the task needs, or as the protocols.
    """
    _check(datamodule, task)
    order = seeds.generator("cpu", "statistics")

    def shuffled() -> Any:
        train = datamodule.splits.train
        some = Subset(train, torch.randperm(len(train), generator=order).tolist())  # type: ignore[arg-type]
        return batches(datamodule, some, datamodule.val_batch_size)

    compared = columns(model, untrained, shuffled, device)
    if task == "nodes":
        return _nodes(compared, datamodule, seed, fit, device, watch)
    if task == "graphs":
        return _graphs(compared, datamodule, pool, device, watch)
    assert isinstance(datamodule, LinkData)
    return _links(compared, datamodule, device, watch)


def task_of(datamodule: GraphData) -> Task:
    """Links where they are held out, else what has labels.

    Raises:
        ValueError: nothing has.
    """
    if isinstance(datamodule, LinkData):
        return "links"
    if "label" not in datamodule.graphs.samples[0]:
        raise ValueError(
            "The data must have labels of nodes or of graphs, or hold out links (graph.links), but does not."
        )
    return "nodes" if datamodule.graphs.per_node else "graphs"


def _check(datamodule: GraphData, task: Task) -> None:
    if task == "links" and not isinstance(datamodule, LinkData):
        name = type(datamodule).__name__
        raise ValueError(f"The data must be graph.links for the task `links`, in pretraining too, but is {name}.")
    labelled = "label" in datamodule.graphs.samples[0]
    there = "none" if not labelled else "those of nodes" if datamodule.graphs.per_node else "those of graphs"
    if task != "links" and there != f"those of {task}":
        raise ValueError(f"The data must have labels of {task} for the task `{task}`, but has {there}.")
    if task == "nodes" and datamodule.graphs.samples[0]["label"].ndim > 1:
        raise ValueError("The data must have one class per node for the task `nodes`, but has several.")
    if task != "links":
        labels = torch.cat([torch.as_tensor(sample["label"]).flatten() for sample in datamodule.graphs.samples])
        if are_measured(labels[labels != IGNORED], datamodule.classes):
            raise ValueError(
                f"The data must have classes for the task `{task}`, but its labels are numbers, hardly any two of them "
                "alike; `unmask probe` takes those by regression."
            )


def _nodes(
    compared: Mapping[str, Embedder],
    datamodule: GraphData,
    seed: int,
    fit: Fit,
    device: torch.device | str,
    watch: Watch,
) -> Results:
    size = datamodule.val_batch_size
    loaders = {part: batches(datamodule, one, size) for part, one in _parts(datamodule).items()}
    rows = {name: Row(name, ACCURACY, {}) for name in (LAST, BEST)}
    for number, (name, embedder) in enumerate(compared.items()):
        watch(f"codes of {name}", number, len(compared))
        found = {part: vectors(embedder, loader, device=device)[:2] for part, loader in loaders.items()}
        scores = linear_probe(**found, seed=seed, fit=fit)  # type: ignore[arg-type]
        rows[LAST].cells[name] = Cell.of([scores.last])
        if scores.best is not None:
            rows[BEST].cells[name] = Cell.of([scores.best])
    return _result(
        "Accuracy, %", rows, compared, len(found["train"][0]), len(found["test"][0]), len(datamodule.graphs.classes)
    )


def _parts(datamodule: GraphData) -> dict[str, Dataset]:
    """The graph, or parts of it, with labels to fit on and to score on; a whole one also with those to validate on."""
    splits = datamodule.splits
    assert splits.probe_train is not None  # there are labels
    assert splits.probe_test is not None
    parts = {"train": splits.probe_train, "test": splits.probe_test}
    known = datamodule.graphs.masks["val"]
    if bool(known.any()) and datamodule.sampling is None:
        parts["val"] = Chosen(datamodule.graphs.samples, [0], known=known)
    return parts


def _graphs(
    compared: Mapping[str, Embedder], datamodule: GraphData, pool: str, device: torch.device | str, watch: Watch
) -> Results:
    parts = [one for one in datamodule.splits[2:] if one is not None]
    loader = batches(datamodule, ConcatDataset(parts), datamodule.val_batch_size)
    found = {}
    for number, (name, embedder) in enumerate(compared.items()):
        watch(f"codes of {name}", number, len(compared))
        found[name], labels = graph_vectors(embedder, loader, pool, device)
    return svm_probe(found, labels, watch=watch)


def _links(compared: Mapping[str, Embedder], datamodule: LinkData, device: torch.device | str, watch: Watch) -> Results:
    split = datamodule.split
    loader = batches(datamodule, datamodule.splits.val, 1)
    names = [(f"{how}, {measure.name}", measure) for how in (DOT, FITTED) for measure in (AUC, AP)]
    rows = {name: Row(name, measure, {}) for name, measure in names}
    for number, (name, embedder) in enumerate(compared.items()):
        watch(f"codes of {name}", number, len(compared))
        codes = node_codes(embedder, loader, device)
        for how, scores in ((DOT, dot_scores(codes, split.test)), (FITTED, fitted_scores(codes, split))):
            rows[f"{how}, AUC"].cells[name] = Cell.of([scores.auc])
            rows[f"{how}, AP"].cells[name] = Cell.of([scores.ap])
    return _result("Scores", rows, compared, len(split.train.edge), len(split.test.edge), 2)


def _result(
    title: str,
    rows: Mapping[str, Row],
    compared: Mapping[str, Embedder],
    num_train: int,
    num_test: int,
    num_classes: int,
) -> Results:
    whole = [row for row in rows.values() if row.cells]
    sizes = {"num_train": num_train, "num_test": num_test, "num_classes": num_classes, "num_runs": 1, "over": ""}
    return Results(title, list(compared), whole, details=sizes, head="probe", gain="gain over {}")
