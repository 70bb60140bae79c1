"""A graph some of whose edges are held out, to be told from non-edges later (VGAE, Kipf & Welling 2016)."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from unmask_graph.data.graphs import Graphs
from unmask_graph.data.module import GraphData
from unmask_graph.evaluate.links import LinkSplit, split_links


class LinkData(GraphData):
    """The one graph of other data, without 15% of its pairs of connected nodes; ``unmask graph-probe --task links``.

    Pretraining, validation and codes all see what is left alone. Labels of nodes are kept.

    Args:
        data: with a single graph, whole; its own settings (scale, direction, ...) count.
        val_ratio: share of the pairs that choose the strength of the probe, in (0, 1).
        test_ratio: share of the pairs that are scored, in (0, 1).
        split_seed: of the draw of pairs and of as many non-edges: the same for all runs that are compared.
        steps_per_epoch: how often an epoch goes over the graph, at least 1.

    Raises:
        ValueError: a value outside its range; in `setup`, several graphs, one in parts, or too few edges.
    """

    def __init__(
        self,
        data: GraphData,
        val_ratio: float = 0.05,
        test_ratio: float = 0.1,
        split_seed: int = 0,
        steps_per_epoch: int = 1,
    ) -> None:
        super().__init__(source=data.source, directed=data.directed, steps_per_epoch=steps_per_epoch)
        if data.sampling is not None:
            raise ValueError("`data` must be whole, without `sampling`, for links to be held out of it.")
        self.data = data
        self.link_ratios = (val_ratio, test_ratio)
        self.split_seed = split_seed

    @cached_property
    def split(self) -> LinkSplit:
        """Edges that may be seen, and pairs to fit on, to choose by and to score on."""
        samples = self.data.graphs.samples
        if len(samples) != 1:
            raise ValueError(f"`data` must be a single graph for links to be held out of it, but has {len(samples):,}.")
        return split_links(samples[0]["edges"], len(samples[0]["x"]), *self.link_ratios, seed=self.split_seed)

    def read(self) -> Graphs:
        seen, whole = self.split.seen, self.data.graphs
        sample = dict(whole.samples[0])
        for name, dimension in (("edges", 1), ("edge_values", 0)):
            if name in sample:
                sample[name] = sample[name].index_select(dimension, seen.nonzero()[:, 0])
        return replace(whole, samples=[sample])
