"""Batches of graphs: packed one after another, so nothing is padded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask.api import IGNORED
from unmask.data import Sample


def pack(samples: Sequence[Sample]) -> dict[str, Any]:
    """Graphs to a batch: ``x [T, F]``, ``edges [2, E]`` between its T rows, ``offsets [B + 1]``, ``index [B]``.

    Also ``name``, a list of words, ``edge_values [E, V]`` and ``label``, where samples have them: ``[T]`` of nodes,
    ``[B]`` of graphs, ``[B, C]`` of graphs with several.
    """
    lengths = torch.tensor([len(sample["x"]) for sample in samples])
    offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    one = len(samples) == 1
    edges = [sample["edges"] if one else sample["edges"] + start for sample, start in zip(samples, offsets)]  # noqa: B905
    batch: dict[str, Any] = {
        "x": samples[0]["x"] if one else torch.cat([sample["x"] for sample in samples]),
        "edges": edges[0] if one else torch.cat(edges, dim=1),
        "offsets": offsets,
    }
    if "edge_values" in samples[0]:
        batch["edge_values"] = torch.cat([sample["edge_values"] for sample in samples])
    if "label" in samples[0]:
        labels = [sample["label"] for sample in samples]
        batch["label"] = torch.cat(labels) if isinstance(labels[0], Tensor) else torch.tensor(labels)
    if "name" in samples[0]:
        batch["name"] = [sample["name"] for sample in samples]
    if "index" in samples[0]:
        batch["index"] = torch.tensor([sample["index"] for sample in samples])
    return batch


class Chosen(Dataset):
    """Some of the graphs, perhaps several times over.

    Args:
        samples: all graphs.
        index: which of them.
        times: how often one pass goes over them.
        known: bool ``[N]``: of a single graph, whose nodes' labels are shown; others are `IGNORED`. None: all.
    """

    def __init__(
        self, samples: Sequence[Sample], index: Sequence[int], times: int = 1, known: Tensor | None = None
    ) -> None:
        self.samples = [samples[i] for i in index]
        self.times = times
        if known is not None:
            self.samples = [one | {"label": hide_labels(one["label"], known)} for one in self.samples]

    def __len__(self) -> int:
        return len(self.samples) * self.times

    def __getitem__(self, number: int) -> Sample:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.samples[number % len(self.samples)]


def hide_labels(label: Tensor, known: Tensor) -> Tensor:
    """Labels of nodes, `IGNORED` (of numbers: nan) where they are not ``known`` ``[N]``."""
    nothing = float("nan") if label.is_floating_point() else IGNORED
    return torch.where(known.reshape(-1, *[1] * (label.ndim - 1)), label, nothing)
