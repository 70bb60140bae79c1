"""Graph data modules: one graph or many, whole or in parts, as batches of nodes and edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask import seeds
from unmask.api import IGNORED, at_least, inside, split_of
from unmask.data import NONE_HELD_OUT, Entry, MaskedDataModule, Plan, Sample, Splits, fingerprint, held_out
from unmask_graph.data.arrays import arrays_of
from unmask_graph.data.batches import Chosen, pack
from unmask_graph.data.graphs import Graphs, collect
from unmask_graph.data.report import Report
from unmask_graph.data.sampling import Sampling
from unmask_graph.data.sources import GraphSource
from unmask_graph.data.values import FILLS, Missing, Settled, scale

SCALES = ("none", "rows", "columns")


class GraphData(MaskedDataModule):
    """Graphs of a source.

    A batch is packed: ``x [T, F]``, ``edges [2, E]`` between its T rows (source, target), ``offsets [B + 1]``,
    ``index [B]``, ``name`` (B words), ``edge_values [E, V]`` and ``label`` where there are any: ``[B]`` of graphs, or
    ``[T]`` of nodes, -100 at those that are not of the split. Order and batches are keyed as in `MaskedDataModule`.

    A single graph is one sample: it is trained on whole, and validated on with other masks; or ``sampling`` makes
    samples of its parts, when it is too big for that. Probes are fitted on the labels of some of its nodes and scored
    on those of others: as the source says, or else drawn evenly.

    What is odd (self-loops, duplicate edges, nodes without an edge, ...) is handled as `Report` says, counted, and
    shown once before training.

    Args:
        source: where the graphs come from.
        directed: whether edges keep their direction; False: each one runs both ways.
        scale: ``none``; ``rows``: features of a node divided by the sum of their sizes, as Cora, CiteSeer and PubMed
            are in GraphMAE's reference code (DGL's data sets); ``columns``: each feature with mean 0 and standard
            deviation 1; new data of a trained model is scaled by the numbers of the data that it was trained on.
        missing: what becomes of features and values of edges that are not finite: ``refuse``: an error; ``zero``: 0;
            ``mean``: the mean of their column; ``indicator``: the mean, and one more column for each that has gaps, 1
            where a value is missing. What is filled is told. New data of a trained model is filled with the means of
            the data that it was trained on, and has its columns.
        sampling: how a single graph is cut into samples; None: it is one.
        batch_size: samples per device and step: graphs, or parts of one.
        train_ratio: of a single graph whose source does not say: share of its labelled nodes that probes are fitted
            on, in (0, 1).
        val_ratio: share held out for validation, in [0, 1): of many graphs, where 0 stands for training and
            validating on all; or of a single graph's labelled nodes, where the source does not say.
        steps_per_epoch: of a single whole graph: how often an epoch goes over it, at least 1.
        num_workers: loading processes per device: 0, because a sample is a look-up; None: by their number.
        val_batch_size: samples per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a value outside its range; in `setup`, no graph of two nodes or more.
    """

    sample_name: ClassVar[str] = "graphs"
    item: ClassVar[str] = "graph"

    def __init__(
        self,
        source: GraphSource,
        directed: bool = False,
        scale: Literal["none", "rows", "columns"] = "none",
        missing: Missing = "refuse",
        sampling: Sampling | None = None,
        batch_size: int = 1,
        train_ratio: float = 0.5,
        val_ratio: float = 0.1,
        steps_per_epoch: int = 1,
        num_workers: int | None = 0,
        **shared: Any,
    ) -> None:
        augment = sampling.augment if sampling is not None else None
        super().__init__(batch_size=batch_size, num_workers=num_workers, augment=augment, **shared)
        if scale not in SCALES:
            raise ValueError(f"`scale` must be one of {', '.join(SCALES)}, but is {scale!r}.")
        if missing != "refuse" and missing not in FILLS:
            raise ValueError(f"`missing` must be one of refuse, {', '.join(FILLS)}, but is {missing!r}.")
        inside("(0, 1)", train_ratio=train_ratio)
        inside("[0, 1)", val_ratio=val_ratio)
        at_least(1, steps_per_epoch=steps_per_epoch)
        if steps_per_epoch > 1 and sampling is not None:
            raise ValueError(f"`steps_per_epoch` must be 1 where `sampling` makes samples, but is {steps_per_epoch}.")
        self.source = source
        self.directed = directed
        self.scale = scale
        self.missing = missing
        self.sampling = sampling
        self.train_ratio = train_ratio
        self.val_ratio = val_ratio
        self.steps_per_epoch = steps_per_epoch
        self.settled: Settled = {}  # what gaps are filled with and features scaled by; empty until the data is read

    def prepare_data(self) -> None:
        self.source.prepare()

    def shard_plan(self, shuffle: bool) -> Plan:
        """Graphs as their source has them, in their order: all are read into memory, whatever it is."""
        self.prepare_data()
        report = Report()
        given = self.source.read(report.findings)
        options = {"names": [*given.names], "features": given.features, "edge_names": [*given.edge_names]}

        def entries(start: int) -> Iterator[Entry]:
            for number, graph in enumerate(given.graphs[start:], start):
                masks = given.masks if number == 0 else {}
                yield Entry(graph.title or graph.name, partial(self.shard_content, arrays_of(graph, masks), number))

        made_of = fingerprint(self, False, (), [graph.title or graph.name for graph in given.graphs])
        return Plan(
            self.item, {"train": (entries, len(given.graphs))}, made_of, [*given.classes], options=options,
            told=lambda: str(report.findings),
        )  # fmt: skip

    def read(self) -> Graphs:
        """The graphs, clean; called once, on every device's process."""
        report = Report()
        return collect(self.source.read(report.findings), self.directed, report, self.missing, self.settled)

    @cached_property
    def graphs(self) -> Graphs:
        """What was read, scaled; with ``masks`` for a single graph with labels of nodes."""
        try:
            graphs = self.read()
        except (MemoryError, RuntimeError) as error:  # torch's word for the former is the latter
            if not isinstance(error, MemoryError) and "allocate" not in str(error):
                raise
            raise ValueError("The data must fit into the memory, but does not; a file of it may be damaged.") from error
        if not any(len(sample["x"]) > 1 for sample in graphs.samples):
            raise ValueError("The data must have a graph of at least 2 nodes, but has none.")
        scaled = scale([sample["x"] for sample in graphs.samples], self.scale, self.settled)
        for sample, x in zip(graphs.samples, scaled, strict=True):
            sample["x"] = x
        if len(graphs.samples) == 1 and graphs.per_node and not graphs.masks:
            graphs.masks = _drawn(graphs.samples[0]["label"], self.train_ratio, self.val_ratio)
        return graphs

    @property
    def report(self) -> dict[str, Any]:
        """What was found: see `Report`."""
        return self.graphs.report.as_dict()

    @property
    def num_features(self) -> int:
        """F, features of a node."""
        return self.graphs.samples[0]["x"].shape[1]

    @property
    def classes(self) -> Sequence[str]:
        return self.graphs.classes

    def about(self) -> str:
        return str(self.graphs.report)

    def found(self) -> str:
        told = self.about()
        if len(self.graphs.samples) == 1:
            return told
        told += f"\n{super().found()}"
        return told if self.val_ratio else f"{told}\n{len(self.graphs.samples):,} {NONE_HELD_OUT.format('graph')}."

    def everything(self) -> dict[str, Dataset]:
        if len(self.graphs.samples) > 1:
            return super().everything()
        # A single graph is trained on and validated on; an epoch may go over it several times.
        return {"train": self.splits.val if self.sampling is None else self.splits.train}

    def token_names(self, split: str, index: int) -> list[str] | None:
        """The names of the nodes of one sample, in the order of its rows; None where nodes have none.

        Args:
            split: ``train``, ``val``, ``probe_train`` or ``probe_test``.
            index: of the sample in the split.

        Raises:
            ValueError: no such split.
        """
        sample = split_of(self, split)[index]
        if self.sampling is None:
            return sample.get("node_names")
        names = self.graphs.samples[0].get("node_names")
        return None if names is None else [names[node] for node in self.collate_fn([sample])["node"].tolist()]

    def load(self) -> Splits:
        samples = self.graphs.samples
        if len(samples) > 1:
            if self.sampling is not None or self.steps_per_epoch > 1:
                name = "sampling" if self.sampling is not None else "steps_per_epoch"
                raise ValueError(f"`{name}` must be left out for {len(samples):,} graphs: it is for a single one.")
            return self._of_many(samples)
        if self.sampling is not None:
            return self.sampling.splits(samples[0], self.graphs.masks)
        train, val = Chosen(samples, [0], self.steps_per_epoch), Chosen(samples, [0])
        masks = self.graphs.masks
        if not masks:
            return Splits(train, val)
        return Splits(train, val, *(Chosen(samples, [0], known=masks[part]) for part in ("train", "test")))

    def _of_many(self, samples: list[Sample]) -> Splits:
        """Graphs of one node are no use for training; probes see them."""
        trainable = [i for i, sample in enumerate(samples) if len(sample["x"]) > 1]
        if self.val_ratio == 0 or len(trainable) == 1:
            whole = Chosen(samples, trainable)
            labelled = "label" in samples[0]
            return Splits(whole, whole, Chosen(samples, range(len(samples))) if labelled else None)
        train, val = held_out(len(samples), self.val_ratio)
        usable = set(trainable)
        parts = [Chosen(samples, [i for i in part if i in usable]) for part in (train, val)]
        probes = [Chosen(samples, part) for part in (train, val)] if "label" in samples[0] else []
        return Splits(*parts, *probes)

    @property
    def collate_fn(self) -> Callable[[list[Sample]], dict[str, Any]]:
        return pack if self.sampling is None else self.sampling.collate


def _drawn(label: Tensor, train_ratio: float, val_ratio: float) -> dict[str, Tensor]:
    """Labelled nodes for each purpose, the same in every run."""
    if train_ratio + val_ratio >= 1:
        raise ValueError(
            f"`train_ratio` and `val_ratio` must leave nodes to test on, but are {train_ratio} and {val_ratio}."
        )
    known = label.isfinite() if label.is_floating_point() else label != IGNORED
    nodes = known.reshape(len(label), -1).all(1).nonzero()[:, 0]
    nodes = nodes[torch.randperm(len(nodes), generator=seeds.generator("cpu", "label split"))]
    bounds = [round(len(nodes) * share) for share in (0.0, train_ratio, train_ratio + val_ratio, 1.0)]
    masks = {}
    for name, start, end in zip(("train", "val", "test"), bounds, bounds[1:], strict=False):
        masks[name] = torch.zeros(len(label), dtype=torch.bool)
        masks[name][nodes[start:end]] = True
    return masks
