"""PyG's ``Data`` objects as graphs: features, values of edges, labels, splits and names."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData, TemporalData
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import BaseStorage, EdgeStorage, GlobalStorage, NodeStorage

from unmask.api import quoted
from unmask.data import MOST_CLASSES, Findings
from unmask_graph.data.categories import Categories, Label, as_list, asked, check_columns, kinds_of_numbers
from unmask_graph.data.graphs import RawGraph, RawGraphs
from unmask_graph.data.values import table_of

SAFE: list[type] = [
    Data, HeteroData, TemporalData, DataEdgeAttr, DataTensorAttr, BaseStorage, GlobalStorage, NodeStorage, EdgeStorage,
]  # fmt: skip
"""What PyG's files hold beside tensors; none of it runs anything."""
READ = ("x", "edge_index", "edge_attr", "edge_weight", "y", "adj_t", "num_nodes", "name", "node_names")
MASKS = ("train_mask", "val_mask", "test_mask")
MOST_KINDS = 1000
"""A column of larger whole numbers is not taken for kinds of nodes."""
UNREAD = "attributes of `Data` are not read"


def graphs_of(
    named: Iterable[tuple[str, Any]],
    findings: Findings,
    titles: Sequence[str] = (),
    split: int = 0,
    label: Label = None,
    num_kinds: int | None = None,
    categories: Categories = None,
    edge_categories: Categories = None,
) -> RawGraphs:
    """Graphs of PyG's ``Data`` objects: ``x``, ``edge_index``, ``edge_attr``, ``y``, ``train_mask``, ...

    ``y`` of as many rows as nodes (in every graph) is the class of each node, any other that of the graph; floating
    point is a number to predict. A graph may have several numbers, or several classes at once, 0 or 1 for each.
    ``edge_weight`` is the last of an edge's values. ``name`` is that of the graph, ``node_names`` a list of its nodes'.

    Args:
        named: one or more, and what errors call them.
        findings: is told of what is not read.
        titles: their own names, where a ``Data`` has no ``name``; empty: as errors call them.
        split: column of masks.
        label: columns of ``y``, see `PyGData`.
        num_kinds: see `PyGData`.
        categories: see `PyGData`.
        edge_categories: see `PyGData`.

    Raises:
        ValueError: another kind of object, no ``edge_index``, or labels of neither kind.
    """
    checked = [(name, _checked(data, name)) for name, data in named]
    datas = [data for _, data in checked]
    labels = [data.y for data in datas if data.y is not None]
    per_node = bool(labels) and all(len(data.y) == data.num_nodes for data in datas if data.y is not None)
    per_node &= any(len(label) != 1 for label in labels)
    features = "features"
    raw = [
        RawGraph(
            data.x, data.edge_index, _edge_values(data), _label(data, per_node, name, label), name, data.num_nodes,
            title=_word(data, "name") or title, node_names=_node_names(data, name),
        )
        for (name, data), title in zip(checked, titles or [name for name, _ in checked], strict=True)
    ]  # fmt: skip
    names, kinds = _with_kinds(raw, "x", "categories", categories, findings)
    edge_names, _ = _with_kinds(raw, "edge_values", "edge_categories", edge_categories, findings)
    if not kinds and (width := _kinds(raw, num_kinds)):
        for graph in raw:
            graph.x = torch.nn.functional.one_hot(graph.x[:, 0].long(), width)
        features = "kinds as features (`x` of whole numbers, one-hot)"
    masks = _masks(datas[0], split) if len(datas) == 1 and per_node else {}
    read = {*READ, *(MASKS if masks else ())}
    for key in sorted({str(key) for data in datas for key in data.keys()} - read):  # noqa: SIM118
        findings.note(UNREAD, f"`{key}`")
    return RawGraphs(raw, _classes(raw), masks, names, features, edge_names)


def _checked(given: Any, name: str) -> Data:
    """A ``Data`` with tensors where there must be such."""
    if not isinstance(given, Data):
        way = "; `to_homogeneous()` makes a `Data` of it" if isinstance(given, HeteroData) else ""
        raise ValueError(f"{name} must be a `Data` with one kind of nodes, but is a `{type(given).__name__}`{way}.")
    data = copy.copy(given)
    for key in ("x", "edge_index", "edge_attr", "edge_weight", "y", *MASKS):
        value = getattr(data, key, None)
        if isinstance(value, np.ndarray | int | float | bool):
            try:
                data[key] = torch.as_tensor(value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"`{key}` of {name} must be numbers, but is not: {error}.") from error
        elif value is not None and not isinstance(value, Tensor):
            raise ValueError(f"`{key}` of {name} must be a tensor, but is a {type(value).__name__}.")
        elif value is not None and value.is_quantized:
            raise ValueError(f"`{key}` of {name} must be plain numbers, but is quantised ({value.dtype}).")
        if value is not None and data[key].ndim == 0:
            data[key] = data[key][None]
    if data.edge_index is None:
        if "adj_t" not in data:
            raise ValueError(f"{name} must have `edge_index`, but has {quoted(map(str, data.keys()))}.")
        row, column, value = data.adj_t.t().coo()
        data.edge_index = torch.stack([row, column])
        if value is not None:
            data.edge_weight = value
    if data.x is not None and data.x.ndim == 1:
        data.x = data.x[:, None]
    count = data.to_dict().get("num_nodes")
    if count is not None and (not isinstance(count, int) or count < 0 or (data.x is not None and count != len(data.x))):
        least = "a whole number of at least 0" if data.x is None else f"{len(data.x):,}, the rows of `x`"
        raise ValueError(f"`num_nodes` of {name} must be {least}, but is {count!r:.40}.")
    return data


def _word(data: Data, key: str) -> str:
    """A word that the graph has; ``""``: it has none."""
    value = getattr(data, key, "")
    return value if isinstance(value, str) else ""


def _node_names(data: Data, name: str) -> list[str] | None:
    given = getattr(data, "node_names", None)
    if given is None:
        return None
    if not isinstance(given, list | tuple | np.ndarray) or len(given) != data.num_nodes:
        raise ValueError(f"`node_names` of {name} must be a list of {data.num_nodes} words, one for each node.")
    return [str(one) for one in given]


def _edge_values(data: Data) -> Tensor | None:
    """``[E, V]``: ``edge_attr``, and ``edge_weight`` after it."""
    parts = [part for part in (data.edge_attr, getattr(data, "edge_weight", None)) if part is not None]
    parts = [part[:, None] if part.ndim == 1 else part for part in parts]
    if len({len(part) for part in parts}) > 1:
        raise ValueError(f"`edge_attr` and `edge_weight` must have as many rows, but have {[*map(len, parts)]}.")
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0] if parts else None


def _kinds(raw: list[RawGraph], num_kinds: int | None) -> int:
    """F, where features are kinds of nodes: whole numbers from 0 in one column; 0 where they are not."""
    if num_kinds is not None and num_kinds < 2:
        raise ValueError(f"`num_kinds` must be at least 2, but is {num_kinds}.")
    columns = [graph.x for graph in raw]
    whole = bool(columns) and all(
        isinstance(x, Tensor) and x.layout == torch.strided and x.ndim == 2 and x.shape[1] == 1
        and not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)
        for x in columns
    )  # fmt: skip
    numbers = torch.cat(columns).unique() if whole else torch.empty(0)
    if not whole or len(numbers) < 2 or numbers[0] < 0 or numbers[-1] >= (num_kinds or MOST_KINDS):
        if num_kinds is not None:
            there = f"{int(numbers[0])} to {int(numbers[-1])}" if len(numbers) else "other"
            raise ValueError(
                "`num_kinds` must be None, or more than the largest of the whole numbers in the one column of `x`, "
                f"but is {num_kinds}; `x` is {there}."
            )
        return 0
    return num_kinds or int(numbers[-1]) + 1


def _with_kinds(
    raw: list[RawGraph], what: str, option: str, categories: Categories, findings: Findings
) -> tuple[list[str], bool]:
    """Puts columns of kinds as one-hot ones after the others; the names of all columns, and whether there were such."""
    kinds = asked(categories)
    if not kinds:
        return [], False
    given = [getattr(graph, what) for graph in raw]
    if any(one is None for one in given):
        raise ValueError(f"`{option}` must be None for graphs without {_WORDS[what]}, but is {categories}.")
    tables = [table_of(one, _WORDS[what].capitalize(), graph.name) for one, graph in zip(given, raw, strict=True)]
    width = min(table.shape[1] for table in tables)
    check_columns(option, kinds, [str(number) for number in range(width)], _WORDS[what])
    names = [str(number) for number in range(width) if str(number) not in kinds]
    parts = [[table[:, [int(name) for name in names]]] for table in tables]
    for column, known in kinds.items():
        own, hot = kinds_of_numbers([table[:, int(column)] for table in tables], column, known, findings)
        names += own
        for part, one in zip(parts, hot, strict=True):
            part.append(one)
    for graph, part in zip(raw, parts, strict=True):
        setattr(graph, what, torch.cat(part, dim=1))
    return names, True


_WORDS = {"x": "features", "edge_values": "edge values"}


def _label(data: Data, per_node: bool, name: str, columns: Label) -> Any:
    y = data.y
    if y is None:
        return None
    if per_node:
        return _chosen(y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y, columns)
    if y.numel() == 1:
        return _chosen(y.item(), columns)
    if y.numel() == 0 or y.numel() != max(y.shape):
        raise ValueError(
            f"{name} must have labels in one row, or one per node, but `y` has the shape {tuple(y.shape)}."
        )
    if not y.is_floating_point() and bool(((y != 0) & (y != 1) & (y >= 0)).any()):
        raise ValueError(
            f"{name} must have 0 or 1 for each of several classes in `y`, or numbers of floating point to predict, but "
            f"has {int(y.max())}."
        )
    return _chosen(tuple(y.flatten().tolist()), columns)


def _chosen(given: Any, columns: Label) -> Any:
    """The columns that are asked for, of one graph's label or of its nodes' ``[N, C]``; one alone without its side."""
    if columns is None:
        return given
    wanted = as_list(columns) or []
    per_node = isinstance(given, Tensor)
    count = len(given) if isinstance(given, tuple) else given.shape[1] if per_node and given.ndim > 1 else 1
    there = [str(number) for number in range(count)]
    check_columns("label_column", wanted, there, "`y`")
    if count == 1:
        return given
    numbers = [int(column) for column in wanted]
    if per_node:
        return given[:, numbers[0]] if len(numbers) == 1 else given[:, numbers]
    return given[numbers[0]] if len(numbers) == 1 else tuple(given[number] for number in numbers)


def _classes(raw: list[RawGraph]) -> list[str]:
    """Numbers up to the largest label, or of columns where a node may have several; none of numbers to predict."""
    given = [graph.label for graph in raw if graph.label is not None and graph.num_nodes]
    labels = [torch.as_tensor(label) for label in given]
    if not labels or labels[0].is_floating_point():
        return []
    several = isinstance(given[0], tuple) or labels[0].ndim > 1
    num_classes = labels[0].shape[-1] if several else max(int(label.max()) for label in labels) + 1
    if num_classes > MOST_CLASSES:
        raise ValueError(f"`y` must hold class numbers below {MOST_CLASSES:,}, but goes up to {num_classes - 1:,}.")
    return [str(number) for number in range(num_classes)]


def _masks(data: Data, split: int) -> dict[str, Tensor]:
    masks = {part: data[f"{part}_mask"] for part in ("train", "val", "test") if f"{part}_mask" in data}
    if "train" not in masks or "test" not in masks:
        return {}
    masks.setdefault("val", torch.zeros_like(masks["train"]))
    if masks["train"].ndim == 2 and not 0 <= split < masks["train"].shape[1]:
        raise ValueError(f"`split` must be in [0, {masks['train'].shape[1] - 1}], but is {split}.")
    chosen = {part: (mask[:, split] if mask.ndim == 2 else mask).bool() for part, mask in masks.items()}
    wrong = next((part for part, mask in chosen.items() if mask.shape != (data.num_nodes,)), None)
    if wrong is not None:
        raise ValueError(
            f"`{wrong}_mask` must have one value for each of {data.num_nodes} nodes, but has {len(chosen[wrong])}."
        )
    return chosen
