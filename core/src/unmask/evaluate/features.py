"""Frozen features: one vector per sample from an encoder that sees everything, or from raw values."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from unmask.families import Encoder, Tokenizer
from unmask.handoffs import Tokens

Features = tuple[np.ndarray, np.ndarray | None]


@torch.no_grad()
def features(
    encoder: Encoder,
    tokenizer: Tokenizer,
    loader: Iterable[Any],
    pool: str = "mean",
    device: torch.device | str = "cpu",
) -> Features:
    """Pooled codes of all samples; nothing is hidden, and no random number of the caller's is used.

    Args:
        encoder: moved to ``device``, used in evaluation mode, and left in the mode it was in.
        tokenizer: likewise.
        loader: batches; labels are read from ``batch["label"]``.
        pool: ``mean``, ``max``, ``mean+max`` or ``cls``, see `Latent.pool`.
        device: where to compute.

    Returns:
        ``[n, D]`` float32, and the labels ``[n]``, or None when the batches have none.

    Raises:
        ValueError: an empty loader, or an unknown pooling.
    """
    vectors, labels = [], []
    with evaluating(encoder.to(device), tokenizer.to(device)):
        for tokens, label in _tokens(tokenizer, loader, device):
            vectors.append(encoder(tokens, None).pool(pool, tokens.places).float().cpu())  # [B, D]
            labels.append(label)
    return _joined(vectors, labels)


@torch.no_grad()
def raw_features(tokenizer: Tokenizer, loader: Iterable[Any], device: torch.device | str = "cpu") -> Features:
    """Token values, flattened; averaged over a sample's tokens when samples differ in length.

    Returns and raises as `features`; also ValueError when tokens are ids and have no values.
    """
    flat, mean, labels = [], [], []
    ragged = False
    with evaluating(tokenizer.to(device)):
        for tokens, label in _tokens(tokenizer, loader, device):
            values = tokens.values
            if tokens.offsets is not None or not values.is_floating_point():
                raise ValueError("Raw features must come from dense tokens with values, not packed ones or ids.")
            real = values.new_ones(values.shape[:2]) if tokens.valid is None else tokens.valid.to(values.dtype)
            values = values.flatten(2) * real[..., None]  # [B, N, V]
            mean.append((values.sum(1) / real.sum(1).clamp(min=1)[..., None]).float().cpu())  # [B, V]
            flat.append(values.flatten(1).float().cpu())  # [B, N * V]
            labels.append(label)
            ragged |= tokens.valid is not None
    ragged |= len({rows.shape[1] for rows in flat}) > 1
    return _joined(mean if ragged else flat, labels)


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Run a block in evaluation mode with keyed random numbers, then put modes and generators back."""
    modes = {part: part.training for module in modules for part in module.modules()}
    torch_state, python_state, numpy_state = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        for module in modules:
            module.eval()
        # Of torch, the CPU's generator alone: loaders draw from it, while in evaluation mode nothing
        # draws from a device's. `torch.manual_seed` would change those as well.
        torch.default_generator.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        yield
    finally:
        torch.set_rng_state(torch_state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for part, mode in modes.items():  # one by one: frozen parts may have been in another mode
            part.training = mode


def _tokens(tokenizer: Tokenizer, loader: Iterable[Any], device: torch.device | str) -> Iterator[tuple[Tokens, Any]]:
    """Tokens and labels, batch by batch."""
    for batch in loader:
        batch = move_data_to_device(batch, torch.device(device))
        yield tokenizer(batch), batch.get("label") if hasattr(batch, "get") else None


def _joined(vectors: list[Tensor], labels: list[Any]) -> Features:
    if not vectors:
        raise ValueError("`loader` must have at least one batch, but has none.")
    known = all(label is not None for label in labels)
    y = torch.cat([label.cpu() for label in labels]).numpy() if known else None
    return torch.cat(vectors).numpy().astype(np.float32, copy=False), y
