"""A graph as arrays by name, and back: what a shard holds of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.data import Unreadable
from unmask_graph.data.graphs import RawGraph

ABOUT, MASK = "about", "mask."
_PLAIN = ("name", "num_nodes", "undirected", "title", "node_names", "nodes_name")
"""What is no array."""
_ARRAYS = ("x", "edges", "edge_values")


def arrays_of(graph: RawGraph, masks: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Everything of a graph, whose labels may be of its nodes or of all of it.

    Args:
        graph: as its source has it.
        masks: of its nodes, see `RawGraphs`.
    """
    about: dict[str, Any] = {name: getattr(graph, name) for name in _PLAIN}
    about["node_names"] = None if graph.node_names is None else [*graph.node_names]
    made = {name: _array(getattr(graph, name)) for name in _ARRAYS if getattr(graph, name) is not None}
    if isinstance(graph.label, int | float | tuple):
        about["label"] = [*graph.label] if isinstance(graph.label, tuple) else graph.label
    elif graph.label is not None:
        made["label"] = _array(graph.label)
    made |= {f"{MASK}{name}": _array(mask) for name, mask in masks.items()}
    return made | {ABOUT: np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)}


def graph_of(arrays: Any) -> tuple[RawGraph, dict[str, Tensor]]:
    """What `arrays_of` was given.

    Raises:
        Unreadable: they are no such arrays.
    """
    try:
        about = json.loads(arrays[ABOUT].tobytes())
        label = about.pop("label", arrays.get("label"))
        label = tuple(label) if isinstance(label, list) else label
        if set(about) != set(_PLAIN) or "edges" not in arrays:
            raise Unreadable("no arrays of a graph")
        graph = RawGraph(arrays.get("x"), arrays["edges"], arrays.get("edge_values"), label, **about)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise Unreadable(f"no arrays of a graph: {error}") from error
    masks = {name.removeprefix(MASK): torch.from_numpy(one) for name, one in arrays.items() if name.startswith(MASK)}
    return graph, masks


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        dense = values if values.layout == torch.strided else values.to_dense()
        return dense.detach().cpu().numpy()
    return np.asarray(values)
