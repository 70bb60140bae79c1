"""The fair untrained baseline of encoders with BatchNorm: running statistics collected, weights as initialised."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch.nn.modules.batchnorm import _BatchNorm

from unmask.embedder import Embedder
from unmask.tools.features.vectors import evaluating


def has_statistics(embedder: Embedder) -> bool:
    """Whether its encoder has BatchNorm modules with running statistics."""
    return any(isinstance(part, _BatchNorm) and part.track_running_stats for part in embedder.encoder.modules())


@torch.no_grad()
def with_statistics(embedder: Embedder, loader: Iterable[Any], device: torch.device | str = "cpu") -> Embedder:
    """The same with a copy of the encoder whose BatchNorm modules have seen the data once; no weight differs.

    A freshly initialised encoder normalises by mean 0 and variance 1 until it has seen data, which says more
    of BatchNorm than of its weights. The statistics are averages over all batches, with nothing hidden;
    only BatchNorm modules are in training mode, so dropout does not blur them.

    Args:
        embedder: left as it is, its tokenizer used in evaluation mode.
        loader: batches of more than one row each, in an order that is not sorted by class.
        device: where to compute.
    """
    encoder = copy.deepcopy(embedder.encoder)
    copied = Embedder(embedder.tokenizer, encoder).to(device)
    norms = [part for part in encoder.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    with evaluating(copied):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the average of all batches
            norm.train()
        for batch in loader:
            copied(move_data_to_device(batch, torch.device(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return copied
