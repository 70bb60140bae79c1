"""Fixed sine-cosine positions (Vaswani et al. 2017, section 3.5) for sequences and grids."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from unmask.structures import Grid, Layout, Sequence


def sincos(layout: Layout, num_tokens: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Position codes ``[N, width]``: each axis gets an equal share of the width.

    An axis with share w codes coordinate p as sin(p f_i), then cos(p f_i), with
    ``f_i = 10000 ** (-2 i / w)``. The last axis (columns) comes first, as in MAE's reference code.

    Args:
        layout: a `Sequence`, or a 2-D or 3-D `Grid`.
        num_tokens: N; must match a grid's shape.
        width: must be a multiple of twice the number of axes.
        device: where the table is wanted; it is computed once per device.

    Raises:
        ValueError: another layout, a number of tokens that is not the grid's, or an unfit width.
    """
    if isinstance(layout, Grid):
        shape = layout.shape
    elif isinstance(layout, Sequence):
        shape = (num_tokens,)
    else:
        raise ValueError(f"Fixed positions need a Sequence or Grid layout, but it is {layout}.")
    if math.prod(shape) != num_tokens:
        raise ValueError(f"A grid of shape {shape} has {math.prod(shape)} places, but there are {num_tokens} tokens.")
    step = 2 * len(shape)
    if width % step:
        raise ValueError(
            f"`width` must be a multiple of {step} for {len(shape)}-D positions, but is {width}; "
            f"nearest: {max(round(width / step), 1) * step}."
        )
    return _table(shape, width, torch.device(device))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # or a table first used in validation could not be trained with
def _table(shape: tuple[int, ...], width: int, device: torch.device) -> Tensor:
    share = width // len(shape)
    frequencies = 10000 ** (-torch.arange(share // 2, dtype=torch.float64) / (share / 2))
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    codes = []
    for axis in reversed(axes):
        angles = axis.flatten()[:, None] * frequencies  # [N, share / 2]
        codes += [angles.sin(), angles.cos()]
    return torch.cat(codes, dim=1).float().to(device)
