"""Labels: what is to be told from features, of a whole sample or of each of its tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.handoffs import Tokens
from unmask.nearest import nearest, quoted

CLASSIFICATION, MULTI_LABEL, REGRESSION = KINDS = ("classification", "multi-label", "regression")
IGNORED = -100
"""The class of a token that has none: left out of fitting and scoring."""


@dataclass(frozen=True)
class Task:
    """What labels ask for.

    Args:
        kind: ``classification`` (one class id), ``multi-label`` (0 or 1 per class) or ``regression``.
        per_token: whether each token has a label of its own.

    Raises:
        ValueError: another kind.
    """

    kind: str
    per_token: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            near = quoted(nearest(self.kind, KINDS) or KINDS)
            raise ValueError(f"`task` must be one of {quoted(KINDS)}, but is {self.kind!r}; nearest: {near}.")


def task_of(label: Tensor, tokens: Tokens) -> Task:
    """Read off the shape and type of ``batch["label"]``.

    Per sample ``[B]`` or ``[B, C]``; per token ``[B, N]`` or ``[B, N, C]``, packed ``[T]`` or
    ``[T, C]``. Floating point is regression; whole numbers are class ids, or, with a last side C, 0 or 1.

    Raises:
        ValueError: labels that are no tensor, or of another length than the batch.
    """
    if not isinstance(label, Tensor):
        raise ValueError(f"`label` must be a number or a tensor in each sample, but a batch of them is {label!r:.80}.")
    per_token = _per_token(label, tokens)
    sides = label.ndim - (2 if per_token and tokens.offsets is None else 1)
    if len(label) != (len(tokens.values) if per_token else tokens.num_samples) or sides not in (0, 1):
        raise ValueError(
            f"`label` must have one row per sample ({tokens.num_samples}) or token, but its shape is "
            f"{tuple(label.shape)}."
        )
    if label.is_floating_point():
        return Task(REGRESSION, per_token)
    return Task(MULTI_LABEL if sides else CLASSIFICATION, per_token)


def real_tokens(tokens: Tokens) -> Tensor:
    """Which rows are no padding: ``[B, N]`` bool, packed ``[T]``."""
    if tokens.valid is not None:
        return tokens.valid
    shape = tokens.values.shape[: 1 if tokens.offsets is not None else 2]
    return torch.ones(shape, dtype=torch.bool, device=tokens.values.device)


def _per_token(label: Tensor, tokens: Tokens) -> bool:
    if tokens.offsets is not None:
        return len(label) == len(tokens.values) != tokens.num_samples
    return label.ndim > 1 and label.shape[:2] == tokens.values.shape[:2]
