"""PyG's data sets by name, from a local folder."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch_geometric.datasets

from unmask.api import nearest, quoted
from unmask.data import Findings, data_alone
from unmask_graph.data.categories import Categories, Label
from unmask_graph.data.graphs import RawGraphs
from unmask_graph.data.module import GraphData
from unmask_graph.data.pyg_graphs import SAFE, graphs_of
from unmask_graph.data.sources import GraphSource


class PyGData(GraphData):
    """One of ``torch_geometric.datasets`` (`Planetoid`, `TUDataset`, `Amazon`, `ZINC`, ...): one graph or many.

    Of graphs with a split of nodes (``train_mask``, ``val_mask``, ``test_mask``), that one is used. Its files are read
    as data alone, those in ``processed`` too: one that asks for anything else is refused, so none can run code. An
    ``x`` of whole numbers in one column (`ZINC`, `AQSOL`) is read as kinds of nodes, one-hot.

    Args:
        name: of the class.
        root: folder where its files are, or are put.
        options: further arguments of the class, such as ``{name: Cora}``.
        download: whether files that are not in ``root`` may be fetched from the network.
        split: which, where ``train_mask`` has several columns; counted from 0.
        label_column: column of ``y`` to predict, counted from 0, or several; None: all.
        num_kinds: F, where ``x`` is kinds of nodes; None: the largest kind and one. The same for all parts of a data
            set makes them alike: 28 for `ZINC`.
        categories: columns of ``x`` by number that are kinds of things, each made one-hot, perhaps with the kinds that
            each may have.
        edge_categories: the same of ``edge_attr``.

    Raises:
        ValueError: in `setup`, no such data set, files that are missing and may not be fetched, or graphs
            with several kinds of nodes.

    Further arguments are those of `GraphData`.
    """

    def __init__(
        self,
        name: str,
        root: str,
        options: dict[str, Any] | None = None,
        download: bool = False,
        split: int = 0,
        label_column: Label = None,
        num_kinds: int | None = None,
        categories: Categories = None,
        edge_categories: Categories = None,
        **shared: Any,
    ) -> None:
        source = PyGSource(name, root, options, download, split, label_column, num_kinds, categories, edge_categories)
        super().__init__(source=source, **shared)


@dataclass
class PyGSource(GraphSource):
    """That data set; the fields are options of `PyGData`."""

    name: str
    root: str
    options: dict[str, Any] | None = None
    download: bool = False
    split: int = 0
    label_column: Label = None
    num_kinds: int | None = None
    categories: Categories = None
    edge_categories: Categories = None

    def prepare(self) -> None:
        self._opened(whole=False)  # one process fetches and processes it, before all others read it

    def read(self, findings: Findings) -> RawGraphs:
        named = [(f"Graph {number}", data) for number, data in enumerate(self._opened())]
        return graphs_of(
            named, findings, split=self.split, label=self.label_column, num_kinds=self.num_kinds,
            categories=self.categories, edge_categories=self.edge_categories,
        )  # fmt: skip

    def _opened(self, whole: bool = True) -> list[Any]:
        known = {name for name in dir(torch_geometric.datasets) if name[0].isupper()}
        if self.name not in known:
            near = quoted(nearest(self.name, known) or sorted(known)[:3])
            raise ValueError(
                f"`name` must be a class of `torch_geometric.datasets`, but is {self.name!r}; nearest: {near}."
            )
        kind = getattr(torch_geometric.datasets, self.name)
        options = self.options or {}
        root = str(Path(self.root).expanduser())
        if not self.download:
            kind = type(kind.__name__, (kind,), {"download": _refuse, "__module__": kind.__module__})
        try:
            inspect.signature(kind).bind(root, **options)
            with data_alone(SAFE):
                dataset = kind(root, **options)
                return list(dataset) if whole else []
        except (TypeError, AssertionError) as error:  # some classes assert what they take
            told = f": {error}" if str(error) else ""
            raise ValueError(f"`options` must be arguments of `{self.name}`, but are {options}{told}.") from error
        except ValueError:
            raise
        except Exception as error:  # PyG checks no file
            told = " ".join(str(error).split())[:160] or type(error).__name__
            raise ValueError(
                f"`root` must hold the files of {self.name}, but those in {root!r} cannot be read: {told.rstrip('.')}."
            ) from error


def _refuse(self: Any) -> None:
    raise ValueError(
        f"`root` must hold the files of {type(self).__name__}, but {str(self.raw_dir)!r} lacks some of "
        f"{quoted(self.raw_file_names if isinstance(self.raw_file_names, list | tuple) else [self.raw_file_names])}; "
        "or set `download` to True."
    )
