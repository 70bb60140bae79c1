"""Graphs from files: PyG's ``.pt``, GraphML, and tables of edges and nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.data import BaseData
from torch_geometric.data.separate import separate

from unmask.api import quoted
from unmask.data import Findings, find_files, no_such, read_torch
from unmask_graph.data.columns import graphs_of_tables, read_csv, read_graphml
from unmask_graph.data.graphs import RawGraphs
from unmask_graph.data.module import GraphData
from unmask_graph.data.pyg import SAFE, graphs_of
from unmask_graph.data.sources import GraphSource

ENDINGS = (".pt", ".graphml", ".csv", ".tsv")
PICKLES = (".pickle", ".pkl", ".gpickle", ".p")


class GraphFilesData(GraphData):
    """Graphs from ``.pt``, ``.graphml``, and ``.csv`` or ``.tsv`` files; all of one kind.

    - ``.pt``: a ``Data`` or a list of them, saved by ``torch.save``; or dicts with ``x``, ``edge_index``,
      ``edge_attr``, ``y``, ``train_mask``, ...; or the ``processed/data.pt`` of a PyG data set. Read as data alone: a
      file that asks for anything else is refused, so none can run code. An ``x`` of whole numbers in one column is read
      as kinds of nodes, one-hot.
    - ``.graphml``: one graph a file, as NetworkX, Gephi or igraph write it. Attributes of nodes are features, but
      ``label`` and ``split``; attributes of edges are edge values. ``label`` of the graph is its class.
    - ``.csv`` or ``.tsv`` with a first line of names: a row per edge: ``source``, ``target`` (or ``src``, ``dst``, ...,
      or the first two columns), others edge values. ``nodes`` names the table of nodes: ``id`` (or the first column),
      ``label``, ``split``, others features. Without it, nodes are those that the edges name. A column ``graph_id``, in
      both tables, makes as many graphs as it has values. A first line that looks like data is refused.

    ``label`` is a class by name or number; where most are numbers and one is no whole number, a number to predict;
    empty: none. ``split`` is ``train``, ``val`` or ``test``; empty: none of them. Columns of text are left out and
    counted. An empty cell of a feature is an error. Graphs without features have their degrees for it, see
    `degree_features`. Pickles of NetworkX graphs are refused, since reading them may
    run code: ``networkx.write_graphml`` writes what can be read.

    Args:
        paths: files, or folders (with all folders below).
        nodes: table of nodes, for a table of edges.
        num_kinds: F, of ``.pt`` files whose ``x`` is kinds of nodes; None: the largest kind and one. The same for all
            files of a data set makes them alike.
        directed: whether edges keep their direction; False: each one runs both ways, whatever the file says.

    Raises:
        ValueError: in `setup`, no such file, one that is damaged, several kinds, or graphs with different features.

    Further arguments are those of `GraphData`.
    """

    def __init__(
        self,
        paths: str | list[str],
        nodes: str | None = None,
        num_kinds: int | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(source=GraphFilesSource(paths, nodes=nodes, num_kinds=num_kinds), **shared)


@dataclass
class GraphFilesSource(GraphSource):
    """Those files; the fields are options of `GraphFilesData`."""

    paths: str | list[str]
    nodes: str | None = None
    num_kinds: int | None = None

    def read(self, findings: Findings) -> RawGraphs:
        files = _files([self.paths] if isinstance(self.paths, str) else self.paths, findings)
        kinds = sorted({path.suffix.lower() for path in files})
        tables = [kind for kind in kinds if kind in (".csv", ".tsv")]
        if len(kinds) > 1:
            raise ValueError(f"`paths` must be files of one kind, but are of {quoted(kinds)}.")
        if tables and len(files) > 1:
            raise ValueError(f"`paths` must be one table of edges, but are {len(files)}; `nodes` names that of nodes.")
        if self.nodes is not None and not tables:
            raise ValueError(f"`nodes` must be None for {kinds[0]} files, but is {self.nodes!r}.")
        if self.num_kinds is not None and kinds != [".pt"]:
            raise ValueError(f"`num_kinds` must be None for {kinds[0]} files, but is {self.num_kinds}.")
        if kinds == [".pt"]:
            named = [
                (f"Graph {number}" if len(files) == 1 else f"Graph {number} of {path.name}", data)
                for path in files
                for number, data in enumerate(read_pt(path))
            ]
            return graphs_of(named, findings, num_kinds=self.num_kinds)
        if tables:
            nodes = None if self.nodes is None else Path(self.nodes).expanduser()
            return graphs_of_tables(read_csv(files[0], nodes, findings), findings)
        return graphs_of_tables([read_graphml(path) for path in files], findings)


def read_pt(path: Path) -> list[Any]:
    """The graphs of a file, as ``Data`` objects where it holds such.

    It may hold one, a list of them (or of their dicts), or what `InMemoryDataset` keeps in ``processed``: all graphs
    one after another, and where each begins.

    Raises:
        ValueError: a file that is damaged, or that asks for anything but data.
    """
    loaded = read_torch(path, SAFE)
    if isinstance(loaded, tuple) and len(loaded) > 1 and (_are_slices(loaded[1]) or isinstance(loaded[-1], type)):
        return _apart(*loaded, name=path.name)
    return [_data(one, path.name) for one in (loaded if isinstance(loaded, list | tuple) else [loaded])]


def _files(paths: Iterable[str], findings: Findings) -> list[Path]:
    """Files by name as they are given, of folders those with endings that can be read.

    Raises:
        ValueError: no such path, nothing to read, or a pickle.
    """
    files = []
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            files += find_files(path, ENDINGS, findings, "files of graphs", "paths")
        elif not path.is_file():
            raise no_such(given, "paths")
        elif path.suffix.lower() in PICKLES:
            raise ValueError(
                f"`paths` must not be pickles, which may run code, but one is {path.name!r}; write GraphML instead: "
                "`networkx.write_graphml`."
            )
        elif path.suffix.lower() not in ENDINGS:
            raise ValueError(f"`paths` must end in one of {quoted(ENDINGS)}, but one is {path.name!r}.")
        else:
            files.append(path)
    if not files:
        raise ValueError(f"`paths` must have files that end in one of {quoted(ENDINGS)}, but have none.")
    return files


def _are_slices(value: Any) -> bool:
    """Whether this says where each graph begins in what comes before; None: there is one graph alone."""
    return value is None or (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(one, Tensor) and one.ndim == 1 and not one.is_floating_point() for one in value.values())
        and len({len(one) for one in value.values()}) == 1
    )


def _apart(whole: Any, slices: Any, *more: Any, name: str) -> list[Any]:
    """The graphs of what `InMemoryDataset` keeps."""
    kind = next((one for one in more if isinstance(one, type)), Data)
    data = _data(whole, name, kind)
    if slices is None or not isinstance(data, Data):  # other kinds are refused with the graphs
        return [data]
    try:
        count = len(next(iter(slices.values()))) - 1
        return [separate(Data, data, number, slices, decrement=False) for number in range(count)]
    except Exception as error:  # slices that do not fit raise whatever the tensors do
        told = str(error).rstrip(".")
        raise ValueError(f"{name!r} must hold graphs that fit its slices, but does not: {told}.") from error


def _data(one: Any, name: str, kind: Any = Data) -> Any:
    if not isinstance(one, dict):
        return one
    try:
        return kind.from_dict(one) if issubclass(kind, BaseData) else one
    except Exception as error:
        raise ValueError(
            f"{name!r} must hold `Data` or dicts with `x`, `edge_index`, ..., but holds a dict of "
            f"{quoted(map(repr, list(one)[:5]))}."
        ) from error
