"""Graphs from files: PyG's ``.pt``, tables of edges and nodes, and the formats of other programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.data import BaseData
from torch_geometric.data.separate import separate

from unmask.api import quoted
from unmask.data import UNREADABLE, Findings, find_files, no_such, read_torch
from unmask_graph.data.categories import Categories, Label, as_list
from unmask_graph.data.columns import graphs_of_tables
from unmask_graph.data.edge_tables import add_labels, read_tables
from unmask_graph.data.graphs import RawGraphs
from unmask_graph.data.module import GraphData
from unmask_graph.data.networks import READERS, read_networks
from unmask_graph.data.pyg_graphs import SAFE, graphs_of
from unmask_graph.data.sources import GraphSource
from unmask_graph.data.table_labels import USUAL, Kind, check_options

TABLES = (".csv", ".tsv", ".txt", ".edges", ".edgelist")
NETWORKS = (*READERS, ".mtx")
ENDINGS = (".pt", *NETWORKS, *TABLES)
IN_FOLDERS = tuple(ending for ending in ENDINGS if ending != ".txt")
"""Notes end in ``.txt``, too, so that such tables must be named."""
PICKLES = (".pickle", ".pkl", ".gpickle", ".p")


class GraphFilesData(GraphData):
    """Graphs from ``.pt``, from tables of edges, and from GraphML, GEXF, GML, Pajek and Matrix Market; all of one kind.

    - ``.pt``: a ``Data`` or a list of them, saved by ``torch.save``; or dicts with ``x``, ``edge_index``,
      ``edge_attr``, ``y``, ``train_mask``, ...; or the ``processed/data.pt`` of a PyG data set. Read as data alone: a
      file that asks for anything else is refused, so none can run code. An ``x`` of whole numbers in one column is read
      as kinds of nodes, one-hot.
    - ``.graphml``, ``.gexf``, ``.gml``, ``.net`` (Pajek), ``.mtx`` (Matrix Market): one graph a file. Attributes of
      nodes are features, but their labels and ``split``; attributes of edges are edge values. What these programs call
      ``label`` is the name of a node: always in GEXF, GML and Pajek, and in GraphML where no two are alike.
    - ``.csv``, ``.tsv``, ``.txt``, ``.edges``, ``.edgelist``: a row per edge: ``source``, ``target`` (or ``src``,
      ``dst``, ..., or the first two columns), others edge values. ``nodes`` names the table of nodes: ``id`` (or the
      first column), others features. Without it, nodes are those that the edges name. Comments at the beginning
      (``#``, ``%``) are left out; fields may be separated by spaces.

    Tables and the other formats but ``.pt`` may end in ``.gz`` as well. Labels are what ``label_kind`` says; an
    empty cell is none. ``split`` is ``train``, ``val`` or
    ``test``; empty: none of them. Columns of text are left out and counted. Graphs without features have their degrees
    for it, see `degree_features`. Pickles of NetworkX graphs are refused, since reading them may run code:
    ``networkx.write_graphml`` writes what can be read.

    Args:
        paths: files, or folders (with all folders below; ``.txt`` and ``.gz`` are read where they are named alone).
        nodes: table of nodes, for a table of edges.
        graphs: table of graphs with a column of their names (``graph_id``, or the first one) and their labels.
        graph_column: column of the tables of edges and nodes that tells graphs apart, which makes as many graphs as it
            has values; None: ``graph_id`` or ``graph``, where there is one; ``none``: there is one graph.
        label_column: column of nodes, or of ``graphs``, to predict, or several columns, of which ``label_kind`` makes
            one label; None: ``label``, where there is one. Of ``.pt``: columns of ``y``, counted from 0; None: all.
        label_kind: what labels are taken for, see `unmask.data.labels`: ``class``, ``multi-label``, ``number`` or
            ``numbers``; None: several columns are numbers, one is a number where most labels are numbers and one is no
            whole number, else a class.
        label_separator: between several labels in a cell; None: the first of comma, semicolon and bar that there is.
        header: whether the first line of a table of edges names its columns; None: it is an edge where it has a number,
            or where its first two words are nodes of other lines, which is told.
        delimiter: between the fields of tables, one sign, ``tab`` or ``space``; None: found in the first line.
        categories: columns of nodes that are kinds of things, each made one-hot: a list of their names (of ``.pt``:
            numbers of columns of ``x``), or each with a list of the kinds it may have, which makes files alike.
        edge_categories: the same of columns of edges.
        num_kinds: F, of ``.pt`` files whose ``x`` is kinds of nodes; None: the largest kind and one. The same for all
            files of a data set makes them alike.
        directed: whether edges keep their direction; False: each one runs both ways, whatever the file says.

    Raises:
        ValueError: in `setup`, no such file, one that is damaged, several kinds, an option for files of another kind,
            or graphs with different features.

    Further arguments are those of `GraphData`.
    """

    def __init__(
        self,
        paths: str | list[str],
        nodes: str | None = None,
        graphs: str | None = None,
        graph_column: str | None = None,
        label_column: Label = None,
        label_kind: Kind = None,
        label_separator: str | None = None,
        header: bool | None = None,
        delimiter: str | None = None,
        categories: Categories = None,
        edge_categories: Categories = None,
        num_kinds: int | None = None,
        **shared: Any,
    ) -> None:
        source = GraphFilesSource(
            paths, nodes, graphs, graph_column, label_column, label_kind, label_separator, header, delimiter,
            categories, edge_categories, num_kinds,
        )  # fmt: skip
        super().__init__(source=source, **shared)

    def elsewhere(self, where: str) -> Self:
        """As `MaskedDataModule.elsewhere`; columns of labels are no features there either.

        Raises:
            ValueError: nodes have a table of their own, or graphs have, so that one file is not all of it.
        """
        source = self.source
        assert isinstance(source, GraphFilesSource)
        option = next((one for one in ("nodes", "graphs") if getattr(source, one) is not None), None)
        if option is not None:
            raise ValueError(
                f"{where!r} must come with its own `{option}`, as the run's data has it; give `--data` a YAML file "
                f"whose `data` is `{{class_path: graph.files, init_args: {{paths: ..., {option}: ...}}}}`."
            )
        other = super().elsewhere(where)
        assert isinstance(other.source, GraphFilesSource)
        other.source.label_column, other.source.labelled = source.label_column, False
        return other


@dataclass
class GraphFilesSource(GraphSource):
    """Those files; the fields are options of `GraphFilesData`."""

    paths: str | list[str]
    nodes: str | None = None
    graphs: str | None = None
    graph_column: str | None = None
    label_column: Label = None
    label_kind: Kind = None
    label_separator: str | None = None
    header: bool | None = None
    delimiter: str | None = None
    categories: Categories = None
    edge_categories: Categories = None
    num_kinds: int | None = None
    labelled: bool = field(default=True, init=False)
    """Whether ``label_column`` must be there, as it need not in data that a trained model is applied to."""

    def __post_init__(self) -> None:
        check_options(self.label_column, self.label_kind, self.label_separator)

    def read(self, findings: Findings) -> RawGraphs:
        files = _files([self.paths] if isinstance(self.paths, str) else self.paths, findings)
        others = {Path(one).expanduser().resolve() for one in (self.nodes, self.graphs) if one is not None}
        files = [path for path in files if path.resolve() not in others] or files
        endings = sorted({_ending(path) for path in files})
        if len(endings) > 1 and not {*endings} <= {*TABLES}:
            raise ValueError(f"`paths` must be files of one kind, but are of {quoted(endings)}.")
        is_table = endings[0] in TABLES
        if is_table and len(files) > 1:
            raise ValueError(f"`paths` must be one table of edges, but are {len(files)}; `nodes` names that of nodes.")
        of_tables = () if is_table else ("nodes", "graph_column", "header", "delimiter")
        of_others = ("graphs", "label_kind", "label_separator") if endings == [".pt"] else ("num_kinds",)
        for option in (*of_tables, *of_others):
            if (given := getattr(self, option)) is not None:
                raise ValueError(f"`{option}` must be None for {endings[0]} files, but is {given!r}.")
        if endings == [".pt"]:
            read = [(path, number, data) for path, own in _read(files, findings) for number, data in enumerate(own)]
            num_graphs = Counter(path for path, _, _ in read)
            return graphs_of(
                [(_name(path, number, len(files)), data) for path, number, data in read],
                findings,
                [path.name if num_graphs[path] == 1 else f"{path.stem} {number}" for path, number, _ in read],
                label=self.label_column,
                num_kinds=self.num_kinds,
                categories=self.categories,
                edge_categories=self.edge_categories,
            )
        if is_table:
            nodes = None if self.nodes is None else Path(self.nodes).expanduser()
            tables = read_tables(
                files[0], nodes, findings,
                graph_column=self.graph_column, header=self.header, delimiter=self.delimiter,
            )  # fmt: skip
        else:
            tables = read_networks(files, endings[0], findings, USUAL in (as_list(self.label_column) or ()))
        if self.graphs is not None:
            if is_table and len(tables) == 1:
                raise ValueError("`graphs` must be None for a single graph; `graph_column` tells several apart.")
            add_labels(tables, Path(self.graphs).expanduser(), findings, self.graph_column)
        return graphs_of_tables(
            tables, findings, self.label_column, self.categories, self.edge_categories, self.graphs is not None,
            self.label_kind, self.label_separator, needed=self.labelled,
        )  # fmt: skip


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


def _read(files: list[Path], findings: Findings) -> Iterator[tuple[Path, list[Any]]]:
    """The graphs of each file; of several files those that cannot be read are left out.

    Raises:
        ValueError: none can be read.
    """
    refused: list[ValueError] = []
    for path in files:
        try:
            own = read_pt(path)
        except ValueError as error:
            refused.append(error)
            if len(refused) == len(files):
                raise
            findings.note(UNREADABLE, f"{path.name} ({str(error).removesuffix('.')})")
        else:
            yield path, own


def _files(paths: Iterable[str], findings: Findings) -> list[Path]:
    """Files by name as they are given, of folders those with endings that can be read.

    Raises:
        ValueError: no such path, nothing to read, or a pickle.
    """
    files = []
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            files += find_files(path, IN_FOLDERS, findings, "files of graphs", "paths")
        elif not path.is_file():
            raise no_such(given, "paths")
        elif path.suffix.lower() in PICKLES:
            raise ValueError(
                f"`paths` must not be pickles, which may run code, but one is {path.name!r}; write GraphML instead: "
                "`networkx.write_graphml`."
            )
        elif _ending(path) not in ENDINGS or (path.suffix.lower() == ".gz" and _ending(path) == ".pt"):
            raise ValueError(f"`paths` must end in one of {quoted(ENDINGS)}, but one is {path.name!r}.")
        else:
            files.append(path)
    if not files:
        raise ValueError(f"`paths` must have files that end in one of {quoted(ENDINGS)}, but have none.")
    return files


def _ending(path: Path) -> str:
    """In small letters, of a compressed file that of what is in it."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _name(path: Path, number: int, num_files: int) -> str:
    """What errors call a graph of a file."""
    return f"Graph {number}" if num_files == 1 else f"Graph {number} of {path.name}"


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
