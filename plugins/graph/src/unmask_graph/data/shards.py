"""Graphs in shards, which ``unmask shard`` has written, in a folder or behind a URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.data import UNREADABLE, Findings, ShardError, Shards, Unreadable
from unmask_graph.data.arrays import graph_of
from unmask_graph.data.graphs import RawGraph, RawGraphs
from unmask_graph.data.module import GraphData
from unmask_graph.data.sources import GraphSource


class GraphShardsData(GraphData):
    """Graphs as arrays in the shards of a folder or URL, with the classes and splits that they were written with.

    As from any source, graphs are read once and kept in memory.

    Args:
        shards: a folder, or a URL that fsspec knows (``s3://...``, ``https://...``), from where shards are fetched.
        cache_folder: for shards that are fetched; None: ``unmask/shards`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
        cache_gb: of fetched shards that are kept, at least two of them; in 2^30 bytes.

    Raises:
        ValueError: in `setup`, no shards, such that cannot be right, or are of something else; also as `GraphData`.

    Further arguments are those of `GraphData`.
    """

    def __init__(self, shards: str, cache_folder: str | None = None, cache_gb: float = 20.0, **shared: Any) -> None:
        super().__init__(source=GraphShardsSource(shards, cache_folder, cache_gb), **shared)


@dataclass
class GraphShardsSource(GraphSource):
    """Those shards; the fields are options of `GraphShardsData`."""

    shards: str
    cache_folder: str | None = None
    cache_gb: float = 20.0

    def read(self, findings: Findings) -> RawGraphs:
        shards = Shards(self.shards, GraphData.item, 1, self.cache_folder, self.cache_gb)
        index, graphs, masks = shards.index, list[RawGraph](), dict[str, Any]()
        findings.add(Findings.of(index.left_out))
        for item in shards.items(index.parts["train"]):
            try:
                graph, own = graph_of(item.read())
            except Unreadable as error:
                findings.note(UNREADABLE, f"{item.name} ({error})")
                continue
            graphs.append(graph)
            masks |= own
        if not graphs:
            raise ShardError(f"`shards` must have a graph that can be used, but {self.shards} has none.")
        options = {name: index.options[name] for name in ("names", "features", "edge_names") if name in index.options}
        return RawGraphs(graphs, index.classes, masks, **options)
