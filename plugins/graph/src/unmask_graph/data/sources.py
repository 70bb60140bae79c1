"""Sources of graphs: a source gives graphs as they are, and the data module cleans, splits and batches them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from unmask.data import Findings, Origin
from unmask_graph.data.graphs import RawGraphs


class GraphSource(Origin, ABC):
    """Where the graphs of `GraphData` come from."""

    @abstractmethod
    def read(self, findings: Findings) -> RawGraphs:
        """The graphs; called once, on every device's process.

        Args:
            findings: counts what is odd.

        Raises:
            ValueError: there are no such graphs.
        """
