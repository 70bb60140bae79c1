"""The fair untrained baseline of encoders with BatchNorm: running statistics collected, weights as initialised."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from unmask.parts import Encoder, Tokenizer
from unmask.tools.features.vectors import evaluating


def has_statistics(encoder: nn.Module) -> bool:
    """Whether it has BatchNorm modules with running statistics."""
    return any(isinstance(part, _BatchNorm) and part.track_running_stats for part in encoder.modules())


@torch.no_grad()
def with_statistics(
    encoder: Encoder, tokenizer: Tokenizer, loader: Iterable[Any], device: torch.device | str = "cpu"
) -> Encoder:
    """A copy of ``encoder`` whose BatchNorm modules have seen the data once; no weight differs.

    A freshly initialised encoder normalises by mean 0 and variance 1 until it has seen data, which says more
    of BatchNorm than of its weights. The statistics are averages over all batches, with nothing hidden;
    only BatchNorm modules are in training mode, so dropout does not blur them.

    Args:
        encoder: left as it is.
        tokenizer: used in evaluation mode.
        loader: batches of more than one row each, in an order that is not sorted by class.
        device: where to compute.
    """
    encoder = copy.deepcopy(encoder).to(device)
    norms = [part for part in encoder.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    with evaluating(encoder, tokenizer.to(device)):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the average of all batches
            norm.train()
        for batch in loader:
            encoder(tokenizer(move_data_to_device(batch, torch.device(device))))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return encoder
