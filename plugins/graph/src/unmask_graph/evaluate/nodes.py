"""Node classification by one linear layer on frozen codes: GraphMAE's protocol (Hou et al. 2022, section 4.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unmask import seeds

Rows = tuple[np.ndarray, np.ndarray]
"""Codes ``[n, D]`` and their class ids ``[n]``."""


@dataclass(frozen=True)
class Fit:
    """How the linear layer is fitted. Defaults are those of the authors' code for Cora.

    Args:
        lr: Adam's learning rate, above 0.
        weight_decay: Adam's L2 penalty, at least 0, on the bias too. CiteSeer's in the authors' code: 0.01.
        epochs: full-batch steps, at least 1.

    Raises:
        ValueError: a number outside its range.
    """

    lr: float = 0.01
    weight_decay: float = 1e-4
    epochs: int = 300

    def __post_init__(self) -> None:
        for name, number, least in (("weight_decay", self.weight_decay, 0), ("epochs", self.epochs, 1)):
            if not least <= number < math.inf:
                raise ValueError(f"`{name}` must be at least {least}, but is {number}.")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"`lr` must be above 0, but is {self.lr}.")

    def __str__(self) -> str:
        return f"Adam {self.lr:g}, decay {self.weight_decay:g}, {self.epochs:,} full-batch epochs"


class NodeScores(NamedTuple):
    """Accuracies on the test nodes, in [0, 1].

    Args:
        last: after the last epoch.
        best: after the epoch whose validation accuracy is the best, the latest of several; None without validation.
        epoch: which epoch that is, counted from 1.
    """

    last: float
    best: float | None = None
    epoch: int | None = None


def linear_probe(
    train: Rows,
    test: Rows,
    val: Rows | None = None,
    *,
    seed: int = 0,
    fit: Fit = Fit(),
) -> NodeScores:
    """Fits ``softmax(codes W + b)`` by Adam on all training nodes at once; codes are taken as they are.

    The authors' code reports both numbers: GraphMAE's tables have the last epoch's, other papers early stopping's. A
    table should have one of them, the same in all columns.

    Args:
        train: nodes to fit on.
        test: nodes to score on.
        val: nodes that choose the epoch of `NodeScores.best`; never fitted on.
        seed: of the layer's initial weights; the caller's generator is left alone.
        fit: how.

    Raises:
        ValueError: no nodes to fit or score on, fewer than two classes to fit on,
            or codes that are not finite.
    """
    codes, labels = _tensors("train", train)
    held = {name: _tensors(name, rows) for name, rows in (("val", val), ("test", test)) if rows is not None}
    if len(labels.unique()) < 2:
        raise ValueError("`train` must have nodes of at least 2 classes, but has one.")
    num_classes = 1 + max(int(known.max()) for known in (labels, *(one[1] for one in held.values())))

    with seeds.seeded(seed, "node-probe"):
        layer = nn.Linear(codes.shape[1], num_classes)
    optimizer = torch.optim.Adam(layer.parameters(), lr=fit.lr, weight_decay=fit.weight_decay)
    best_val, best, best_epoch = -1.0, None, None
    for epoch in range(1, fit.epochs + 1):
        optimizer.zero_grad()
        cross_entropy(layer(codes), labels).backward()
        optimizer.step()
        if "val" in held and (found := _accuracy(layer, *held["val"])) >= best_val:
            best_val, best, best_epoch = found, _accuracy(layer, *held["test"]), epoch
    return NodeScores(_accuracy(layer, *held["test"]), best, best_epoch)


def _tensors(name: str, rows: Rows) -> tuple[Tensor, Tensor]:
    codes, labels = torch.as_tensor(rows[0], dtype=torch.float32), torch.as_tensor(rows[1])
    if not len(labels):
        raise ValueError(f"`{name}` must have at least one labelled node, but has none.")
    if labels.ndim != 1 or labels.is_floating_point():
        raise ValueError(f"Labels of nodes must be one class id each, but those of `{name}` are {tuple(labels.shape)}.")
    if not bool(codes.isfinite().all()):
        raise ValueError(f"The codes of `{name}` must be finite, but hold NaN or infinity.")
    return codes, labels.long()


@torch.no_grad()
def _accuracy(layer: nn.Linear, codes: Tensor, labels: Tensor) -> float:
    return float((layer(codes).argmax(1) == labels).double().mean())
