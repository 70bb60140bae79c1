"""Optimal transport between two sets of codes by proximal point iterations (IPOT, Xie et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def transport_plan(
    cost: Tensor,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
    beta: float = 0.5,
    iterations: int = 50,
) -> Tensor:
    """How much of each row goes to each column at the least cost: ``[B, N, M]`` float32, without gradient.

    Both sides have the same weight at every real place; a plan sums to 1. Each iteration is one of Sinkhorn's on
    ``exp(-cost / beta)`` times the plan so far.

    Args:
        cost: ``[B, N, M]``.
        rows: ``[B, N]`` bool, False at padding; None: all are real.
        columns: ``[B, M]`` likewise.
        beta: step of the iterations, above 0. UNITER: 0.5.
        iterations: of them. UNITER: 50, with one inner step.
    """
    cost = cost.float()
    rows = torch.ones_like(cost[:, :, 0], dtype=torch.bool) if rows is None else rows
    columns = torch.ones_like(cost[:, 0], dtype=torch.bool) if columns is None else columns
    pairs = rows[:, :, None] & columns[:, None, :]
    with torch.autocast(cost.device.type, enabled=False):
        kernel = (-cost / beta).exp() * pairs
        num_rows, num_columns = (side.sum(1).clamp(min=1)[:, None] for side in (rows, columns))  # [B, 1]
        wanted = columns / num_columns  # what each column gets
        scale = wanted.clone()  # of columns
        plan = pairs.float()
        for _ in range(iterations):
            step = kernel * plan  # [B, N, M]
            taken = (rows / num_rows) / _above(step @ scale[:, :, None], rows[:, :, None])[:, :, 0]
            scale = wanted / _above(step.mT @ taken[:, :, None], columns[:, :, None])[:, :, 0]
            plan = taken[:, :, None] * step * scale[:, None, :]
    return plan


def _above(values: Tensor, real: Tensor) -> Tensor:
    """Values to divide by: 1 at padding, and never 0."""
    return values.masked_fill(~real, 1).clamp(min=1e-30)
