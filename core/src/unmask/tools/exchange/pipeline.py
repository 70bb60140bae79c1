"""From a raw batch to codes as one module that can be traced: tokenizer, encoder, pooling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unmask.embedder import Embedder
from unmask.joint import encoded
from unmask.tools.exchange.format import Export

State = dict[str, Tensor]


class Pipeline(nn.Module):
    """A dict of tensors to ``[B, D]`` (``[B, 2 D]`` for mean+max), or to codes ``[B, K, D]``; nothing is hidden.

    Args:
        embedder: its tokenizer and encoder, in evaluation mode.
        pool: as in `Latent.pool`; None: all codes, prefix tokens left out.
    """

    def __init__(self, embedder: Embedder, pool: str | None) -> None:
        super().__init__()
        self.tokenizer = embedder.tokenizer  # programs hold tensors under these names
        self.encoder = embedder.encoder
        self.pool = pool

    def forward(self, batch: State) -> Tensor:
        tokens = self.tokenizer(batch)
        latent = encoded(self.encoder, tokens)
        return latent.values if self.pool is None else latent.pool(self.pool, tokens.places)


class _Watched(dict[str, Any]):
    """A batch that remembers what was read of it."""

    def __init__(self, batch: Mapping[str, Any]) -> None:
        super().__init__(batch)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)


def traceable(export: Export) -> tuple[Pipeline, State, State]:
    """The pipeline and two batches of what its tokenizer reads: to trace with, and of one sample, to check with.

    Raises:
        ValueError: the batch is no dict, the tokenizer reads something other than tensors with a row per sample, the
            tokens are packed, or the pooling does not suit the encoder.
    """
    raw = export.batch()
    embedder = export.model.embedder
    if not isinstance(raw, Mapping):
        raise ValueError(f"A program is traced from batches that are dicts, but {type(raw).__name__} is none.")
    watched = _Watched(raw)
    with torch.no_grad():
        tokens = embedder.tokenizer(watched)
    if tokens.offsets is not None:
        raise ValueError("A program is traced from dense tokens, but these are packed: their number differs by batch.")
    batch = {name: raw[name] for name in raw if name in watched.read}
    num_samples = tokens.num_samples
    unfit = [n for n, x in batch.items() if not isinstance(x, Tensor) or x.ndim == 0 or len(x) != num_samples]
    if unfit or not batch:
        told = f"`{unfit[0]}` is not" if unfit else "it read nothing"
        raise ValueError(f"The tokenizer must read tensors with a row per sample, but {told}.")
    if num_samples < 3:
        raise ValueError(f"Tracing needs at least 3 samples, but the data has {num_samples}.")
    pipeline = Pipeline(embedder, export.pool).eval()
    with torch.no_grad():
        pipeline({name: x[:1] for name, x in batch.items()})  # refuses an unfit pooling in its own words
    return pipeline, batch, {name: x[:1].clone() for name, x in batch.items()}


def trace(pipeline: Pipeline, batch: State) -> torch.export.ExportedProgram:
    """The pipeline as a program for any number of samples.

    Raises:
        ValueError: a step of the encoder cannot be traced; says which.
    """
    shapes = ({name: {0: torch.export.Dim("batch")} for name in batch},)
    failed: Exception | None = None
    with torch.no_grad():
        for strict in (False, True):  # reading the byte code also follows `len(x)`, but takes far longer
            try:
                return torch.export.export(pipeline, (batch,), dynamic_shapes=shapes, strict=strict)
            except Exception as error:  # tracing fails in many ways
                failed = failed or error
    told = " ".join(str(failed).split())[:300]
    raise ValueError(f"{type(pipeline.encoder).__name__} cannot be traced: {told}") from failed


def inputs(batch: State) -> str:
    """``image float32 [batch, 1, 8, 8]``."""
    shapes = {name: ", ".join(["batch", *map(str, x.shape[1:])]) for name, x in batch.items()}
    return ", ".join(f"{name} {str(x.dtype).removeprefix('torch.')} [{shapes[name]}]" for name, x in batch.items())
