"""Activation checkpointing: what a block keeps for the backward pass is computed there once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from unmask.training.blocks import blocks_of
from unmask.training.in_place import instead


def checkpoint_activations(module: nn.Module) -> int:
    """From here on, each block of ``module`` that is trained keeps its inputs alone (Chen et al. 2016,
    arXiv:1604.06174).

    Losses and gradients stay the same, bit for bit: random numbers, such as dropout's, are drawn alike again, and batch
    norms count a batch once. The backward pass takes a forward pass longer. Names of weights stay.

    Args:
        module: a network, or a whole model: see `unmask.training.blocks.blocks_of`.

    Returns:
        The number of blocks; 0: there are none, and nothing is done.
    """
    blocks = blocks_of(module)
    for block in blocks:
        instead(block, _forward)
    return len(blocks)


def _forward(plain: Any, block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return plain(*args, **kwargs)
    again = partial(_once, block)
    return checkpoint(plain, *args, use_reentrant=False, context_fn=again, **kwargs)


def _once(block: nn.Module) -> tuple[Any, Any]:
    """What to do around the first and the second time."""
    return nullcontext(), _without_counts(block)


@contextmanager
def _without_counts(block: nn.Module) -> Iterator[None]:
    """What a batch norm counts goes to copies of its statistics, for the batch was counted before."""
    norms = [one for one in block.modules() if isinstance(one, _NormBase) and one.track_running_stats]
    counts = [dict(norm._buffers) for norm in norms]
    for norm, own in zip(norms, counts, strict=True):
        norm._buffers.update({name: None if one is None else one.clone() for name, one in own.items()})
    try:
        yield
    finally:
        for norm, own in zip(norms, counts, strict=True):
            norm._buffers.update(own)
