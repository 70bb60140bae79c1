"""Cora, CiteSeer and PubMed from the raw files of Planetoid (Yang et al. 2016), with their public split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse
import torch

from unmask.api import IGNORED, nearest, quoted
from unmask.data import Findings, read_pickle
from unmask_graph.data.graphs import RawGraph, RawGraphs, ends
from unmask_graph.data.module import GraphData
from unmask_graph.data.sources import GraphSource

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
NUM_VAL = 500
"""Nodes after the labelled ones that the public split validates on."""
MOST = 2**30
"""Numbers of a matrix; PubMed has 10 million."""


class PlanetoidData(GraphData):
    """A citation graph with words of the papers as features and their topics as classes of nodes.

    The public split: 20 labelled nodes per class, the 500 after them for validation, the 1,000 of ``test.index``
    for testing. Numbers in ``test.index`` that are left out (15 papers of CiteSeer) are nodes without features
    or a class. The files are pickles, of which only arrays, sparse matrices and dictionaries are read: a
    file that asks for anything else is refused, so none can run code.

    Args:
        folder: with ``ind.NAME.x``, ``ind.NAME.tx``, ... of one data set or more.
        name: which; None: the only one there is.
        scale: see `GraphData`. ``rows``, as in GraphMAE's reference code.

    Raises:
        ValueError: in `setup`, no such folder, data set or file, or one that is damaged.

    Further arguments are those of `GraphData`, without shares of the split, which is the data set's own.
    """

    def __init__(
        self,
        folder: str,
        name: str | None = None,
        scale: Literal["none", "rows", "columns"] = "rows",
        **shared: Any,
    ) -> None:
        # The split is the data set's own, so no shares of it can be chosen.
        super().__init__(source=PlanetoidSource(folder, name), scale=scale, train_ratio=0.5, val_ratio=0.1, **shared)


@dataclass
class PlanetoidSource(GraphSource):
    """That graph; the fields are options of `PlanetoidData`."""

    folder: str
    name: str | None = None

    def read(self, findings: Findings) -> RawGraphs:
        folder = Path(self.folder).expanduser()
        if not folder.is_dir():
            raise ValueError(f"`folder` must be a folder, but there is no {str(folder)!r}.")
        there = sorted(path.name.split(".")[1] for path in folder.glob("ind.*.graph"))
        if not there:
            raise ValueError(f"`folder` must have files such as `ind.cora.graph`, but {str(folder)!r} has none.")
        if self.name is None and len(there) > 1:
            raise ValueError(f"`name` must say which of {quoted(there)} to read, but is None.")
        name = (self.name or there[0]).lower()
        if name not in there:
            raise ValueError(f"`name` must be one of {quoted(there)}, but is {name!r}; nearest: {_near(name, there)}.")
        parts = {part: _part(folder / f"ind.{name}.{part}") for part in PARTS}
        try:
            return _graphs(parts, name)
        except Exception as error:  # parts that do not fit raise whatever arrays do
            raise ValueError(
                f"The files of {name!r} in {str(folder)!r} do not fit together: {str(error).rstrip('.')}."
            ) from error


def _near(name: str, there: list[str]) -> str:
    return quoted(nearest(name, there) or there)


def _part(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"`folder` must have the file `{path.name}`, but has not.")
    if not path.name.endswith("test.index"):
        return read_pickle(path, encoding="latin1")
    try:
        return np.array([int(line) for line in path.read_text().split()], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"`{path}` must hold whole numbers, but does not: {error!s:.100}.") from error


def _graphs(parts: dict[str, Any], name: str) -> RawGraphs:
    order, numbers = parts["test.index"], np.sort(parts["test.index"])
    features, answers = (_dense(parts[part], part) for part in ("tx", "ty"))
    seen, known = (_dense(parts[part], part) for part in ("allx", "ally"))
    num_train, num_seen = len(_dense(parts["y"], "y")), len(seen)
    most = 2 * (num_seen + len(features))  # a few papers are left out of the numbers
    if not len(numbers) or numbers[0] < 0 or numbers[-1] >= most:
        told = f"{numbers[0]:,} to {numbers[-1]:,}" if len(numbers) else "empty"
        raise ValueError(f"`ind.{name}.test.index` must have numbers in [0, {most - 1}], but is {told}.")
    num_nodes = max(num_seen, int(numbers[-1]) + 1)
    x = np.zeros((num_nodes, features.shape[1]), dtype=np.float32)
    hot = np.zeros((num_nodes, answers.shape[1]), dtype=np.float32)
    x[:num_seen], hot[:num_seen] = seen, known
    x[order], hot[order] = features, answers

    label = np.where(hot.any(1), hot.argmax(1), IGNORED)
    graph = {int(node): [int(other) for other in others] for node, others in parts["graph"].items()}
    edges = np.array([(node, other) for node, others in graph.items() for other in others]).reshape(-1, 2).T
    raw = RawGraph(x, edges, label=label, name=name)
    raw.edges = ends(raw, num_nodes)  # here, where an error names the files
    masks = {part: torch.zeros(num_nodes, dtype=torch.bool) for part in ("train", "val", "test")}
    masks["train"][:num_train] = True
    masks["val"][num_train : num_train + NUM_VAL] = True
    masks["test"][torch.from_numpy(numbers)] = True
    return RawGraphs([raw], [str(i) for i in range(hot.shape[1])], masks)


def _dense(values: Any, part: str) -> np.ndarray:
    """``[n, F]`` of a matrix, sparse or not."""
    shape = tuple(values.shape)
    if len(shape) != 2 or shape[0] * shape[1] > MOST:
        raise ValueError(f"`{part}` must be a matrix of at most {MOST:,} numbers, but its shape is {shape}.")
    return values.toarray() if scipy.sparse.issparse(values) else np.asarray(values)
