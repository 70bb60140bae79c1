"""From a batch to codes as one module that can be traced: tokenizer, encoder, pooling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unmask.embedder import Embedder
from unmask.joint import encoded
from unmask.tools.exchange.format import Export

State = dict[str, Tensor]


@dataclass(frozen=True)
class Program:
    """What is traced, and what it is checked with.

    Args:
        module: a dict of tensors to codes.
        batches: dicts to trace with (the first) and to check with (all), of several sizes.
        expected: the codes of each of them, as the encoder itself computes them.
        sizes: of each tensor, the axes whose length differs by batch: ``{"ids": {0: Dim("batch"), 1: Dim("length")}}``.
        note: a sentence on what the tensors must hold; may be empty.
    """

    module: nn.Module
    batches: list[State]
    expected: list[Tensor]
    sizes: dict[str, dict[int, Any]]
    note: str = ""

    @property
    def signature(self) -> str:
        """``image float32 [batch, 1, 8, 8]``."""
        return ", ".join(f"{name} {self._kind(x)} [{self._shape(name, x)}]" for name, x in self.batches[0].items())

    @property
    def words(self) -> str:
        """The signature, and the note."""
        return " ".join(filter(None, [f"{self.signature}.", self.note]))

    @property
    def seen(self) -> str:
        """On which inputs it is checked: the shapes of their first tensor."""
        return " and ".join(str(list(next(iter(batch.values())).shape)) for batch in self.batches)

    def _kind(self, x: Tensor) -> str:
        return str(x.dtype).removeprefix("torch.")

    def _shape(self, name: str, x: Tensor) -> str:
        names = self.sizes[name]
        return ", ".join(names[axis].__name__ if axis in names else str(size) for axis, size in enumerate(x.shape))


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


def traceable(export: Export) -> Program:
    """What is traced: the encoder's own program, if it has one (`Encoder.program`); else all from the batch on.

    Raises:
        ValueError: the batch is no dict, the tokenizer reads something other than tensors with a row per sample, the
            tokens are packed and the encoder has no program, or the pooling does not suit the encoder.
    """
    raw = export.batch()
    embedder = export.model.embedder
    if not isinstance(raw, Mapping):
        raise ValueError(f"A program is traced from batches that are dicts, but {type(raw).__name__} is none.")
    watched = _Watched(raw)
    with torch.no_grad():
        tokens = embedder.tokenizer(watched)
        own: Program | None = embedder.encoder.program(tokens, export.pool)
    if own is not None:
        return own
    if tokens.offsets is not None:
        raise ValueError(
            "A program is traced from dense tokens, but these are packed: their number differs by batch, and "
            f"{type(embedder.encoder).__name__} has no program of its own."
        )
    batch = {name: raw[name] for name in raw if name in watched.read}
    num_samples = tokens.num_samples
    unfit = [n for n, x in batch.items() if not isinstance(x, Tensor) or x.ndim == 0 or len(x) != num_samples]
    if unfit or not batch:
        told = f"`{unfit[0]}` is not" if unfit else "it read nothing"
        raise ValueError(f"The tokenizer must read tensors with a row per sample, but {told}.")
    if num_samples < 3:
        raise ValueError(f"Tracing needs at least 3 samples, but the data has {num_samples}.")
    pipeline = Pipeline(embedder, export.pool).eval()
    batches = [batch, {name: x[:1].clone() for name, x in batch.items()}]
    with torch.no_grad():
        expected = [pipeline(one) for one in batches]  # refuses an unfit pooling in its own words
    return Program(pipeline, batches, expected, {name: {0: torch.export.Dim("batch")} for name in batch})


def trace(program: Program) -> torch.export.ExportedProgram:
    """The program for any number of samples.

    Raises:
        ValueError: a step of the encoder cannot be traced; says which.
    """
    failed: Exception | None = None
    with torch.no_grad():
        for strict in (False, True):  # reading the byte code also follows `len(x)`, but takes far longer
            try:
                return torch.export.export(
                    program.module, (program.batches[0],), dynamic_shapes=(program.sizes,), strict=strict
                )
            except Exception as error:  # tracing fails in many ways
                failed = failed or error
    told = " ".join(str(failed).split())[:300]
    encoder = getattr(program.module, "encoder", program.module)
    raise ValueError(f"{type(encoder).__name__} cannot be traced: {told}") from failed


def off(got: Tensor, expected: Tensor) -> float:
    """The largest difference between codes of a program and those of the encoder, over the largest of these where that
    is above 1; infinite where shapes differ."""
    if got.shape != expected.shape:
        return float("inf")
    return (got - expected).abs().max().item() / max(expected.abs().max().item(), 1.0)
