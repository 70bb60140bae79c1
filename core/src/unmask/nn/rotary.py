"""Rotary positions on sequences and grids (Su et al. 2021, arXiv:2104.09864; in 2-D: CroCo v2,
Weinzaepfel et al. 2023, arXiv:2211.10408)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from unmask.structures import Grid, Layout, Sequence


def rotary(
    layout: Layout, num_tokens: int, head_width: int, base: float = 100.0, device: torch.device | str = "cpu"
) -> Tensor:
    """Angles ``[N, A, F]`` that queries and keys are turned by: F frequencies for each of A axes.

    A head's width is shared evenly among the axes, rows first; coordinate p turns pair i of an axis with share w by
    ``p * base ** (-2 i / w)``, so that scores depend on differences of positions alone.

    Args:
        layout: a `Sequence` or a `Grid`.
        num_tokens: N.
        head_width: of one attention head; must be a multiple of twice the number of axes.
        base: above 1. CroCo v2: 100.
        device: where the table is wanted.

    Raises:
        ValueError: another layout, or a width that does not fit.
    """
    if not isinstance(layout, Sequence | Grid):
        raise ValueError(f"Rotary positions need a Sequence or Grid layout, but it is {layout}.")
    shape = layout.shape if isinstance(layout, Grid) else (num_tokens,)
    step = 2 * len(shape)
    if head_width % step:
        raise ValueError(
            f"`width / num_heads` must be a multiple of {step} for {len(shape)}-D rotary positions, but is "
            f"{head_width}; nearest: {max(round(head_width / step), 1) * step}."
        )
    return _angles(shape, head_width // len(shape), base, str(device))


@lru_cache(maxsize=32)
def _angles(shape: tuple[int, ...], share: int, base: float, device: str) -> Tensor:
    frequencies = base ** (-torch.arange(share // 2, dtype=torch.float64) / (share / 2))
    axes = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in shape), indexing="ij")
    places = torch.stack([axis.flatten() for axis in axes], dim=1)  # [N, A]
    return (places[..., None] * frequencies).float().to(device)


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Queries or keys ``[B, H, N, C]`` turned by their angles ``[B, N, A, F]`` or ``[N, A, F]``, with ``C = 2 A F``."""
    if angles.ndim == 3:
        angles = angles[None]
    cos, sin = (part[:, None].to(x.dtype) for part in (angles.cos(), angles.sin()))  # [B, 1, N, A, F]
    first, second = x.unflatten(-1, (*angles.shape[-2:-1], 2, -1)).unbind(-2)  # [B, H, N, A, F] each
    pairs = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-2)
    return pairs.flatten(-3)
