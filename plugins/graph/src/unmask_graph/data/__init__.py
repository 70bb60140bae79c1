"""Where graphs come from: a data module for each kind of source, and `GraphData` for any other source."""

from unmask_graph.data.files import GraphFilesData
from unmask_graph.data.graphs import RawGraph, RawGraphs
from unmask_graph.data.imports import ImportsData
from unmask_graph.data.module import GraphData
from unmask_graph.data.planetoid import PlanetoidData
from unmask_graph.data.pyg import PyGData
from unmask_graph.data.sampling import ClusterSampling, NeighborSampling
from unmask_graph.data.shards import GraphShardsData
from unmask_graph.data.sources import GraphSource
from unmask_graph.data.tu import TUData

__all__ = [
    "ClusterSampling", "GraphData", "GraphFilesData", "GraphShardsData", "GraphSource", "ImportsData",
    "NeighborSampling", "PlanetoidData", "PyGData", "RawGraph", "RawGraphs", "TUData",
]  # fmt: skip
