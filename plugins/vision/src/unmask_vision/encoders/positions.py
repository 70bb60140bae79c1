"""Positions that were made for one grid, resampled to another: what fine-tuning at another image size asks for."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from timm.layers import RelPosBias, resample_abs_pos_embed
from timm.layers.pos_embed_rel import gen_relative_position_index
from torch import Tensor

from unmask import Grid, Tokens
from unmask.nn import sincos

Sides = tuple[int, int]
"""Rows and columns of a grid."""


def grid_of(tokens: Tokens) -> Sides:
    """Rows and columns of the grid that the tokens lie on.

    Raises:
        ValueError: they lie on no grid of two sides.
    """
    if not isinstance(tokens.layout, Grid) or len(tokens.layout.shape) != 2:
        raise ValueError(f"The tokens must lie on a Grid of rows and columns, but lie on {tokens.layout}.")
    rows, columns = tokens.layout.shape
    return rows, columns


def resample_table(table: Tensor, old: Sides, new: Sides, num_prefix: int) -> Tensor:
    """A table ``[1, P + n, D]`` as ``[1, P + N, D]``: bicubic and antialiased, as timm does it.

    Args:
        table: codes of P prefix tokens, then of the ``old`` grid, row by row.
        old: the grid that it was made for.
        new: the grid that is asked for.
        num_prefix: P.
    """
    return resample_abs_pos_embed(table, list(new), list(old), num_prefix)


def resample_bias(table: Tensor, old: Sides, new: Sides) -> Tensor:
    """Biases of all offsets in the ``old`` grid ``[(2 r - 1) (2 c - 1) + P, H]`` as those of the ``new`` one, as BEiT's
    fine-tuning has it: by cubic splines, where offsets lie in a larger grid the further apart the larger they are, so
    that those of neighbours stay what they were. A side that is the same in both grids stays as it is.

    Args:
        table: a row for each offset, then P rows of prefix tokens, which stay.
        old: r and c.
        new: the grid that is asked for.
    """
    if old == new:
        return table
    shape = [2 * side - 1 for side in old]
    count = math.prod(shape)
    image = table[:count].float().view(*shape, -1)  # [2 r - 1, 2 c - 1, H]
    rows, columns = (_spline(*sides).to(image) for sides in zip(old, new, strict=True))
    image = torch.einsum("ar,bc,rch->abh", rows, columns, image)
    return torch.cat([image.flatten(0, 1).to(table.dtype), table[count:]])


@cache
def _spline(old: int, new: int) -> Tensor:
    """What offsets of a side of ``new`` places are made of: shares ``[2 new - 1, 2 old - 1]`` of those of ``old``."""
    if old == new:
        return torch.eye(2 * old - 1)
    places = _places(old, new)
    asked = np.arange(1 - new, new).clip(places[0], places[-1])
    if old == 1:
        return torch.ones(len(asked), 1)
    return torch.from_numpy(make_interp_spline(places, np.eye(len(places)), min(3, len(places) - 1))(asked)).float()


def _places(old: int, new: int) -> np.ndarray:
    """Where the offsets of ``old`` places lie among those of ``new``: at 0, 1, 1 + q, 1 + q + q^2, ... with the q in
    [1.01, 1.5] for which the last is ``new - 1``, within the error of BEiT's search.
    """
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if (1 - q ** (old - 1)) / (1 - q) > new - 1 else (q, high)
    far = np.cumsum(q ** np.arange(old - 1))
    return np.concatenate([-far[::-1], [0.0], far])


def bias_of(relative: Any, grid: Sides) -> Tensor:
    """What timm's module of relative positions adds to attention on a grid: ``[1, H, P + N, P + N]``."""
    if tuple(relative.window_size) == grid:
        return relative.get_bias()
    if not isinstance(relative, RelPosBias):  # a small network of the offsets, which has no table
        own = relative.window_size
        relative.set_window_size(grid)
        bias = relative.get_bias()
        relative.set_window_size(own)
        return bias
    rows, columns = relative.window_size
    table = resample_bias(relative.relative_position_bias_table, (rows, columns), grid)
    index = gen_relative_position_index(grid, class_token=relative.prefix_tokens > 0, device=table.device)  # [N, N]
    return table[index].permute(2, 0, 1)[None]


def rotary_of(rope: Any, grid: Sides) -> Tensor:
    """What timm's module of rotary positions turns queries and keys by: ``[N, R]``, or ``[L, H, N, R]``."""
    kept = getattr(rope, "feat_shape", None)  # None where nothing is kept from call to call
    if kept is not None and tuple(kept) != grid:
        rope.update_feat_shape(list(grid))
    return rope.get_embed(grid)


def refit(name: str, tensor: Tensor, own: Tensor, grid: Sides) -> Tensor | None:
    """A table from weights for another grid, made to fit ``own``; None: it is none, or of no grid that can be told.

    A table of fixed sine-cosine codes tells its grid. Others are taken for a square one, or else for one of the same
    shape as ``grid``.

    Args:
        name: of the tensor in a ViT of timm.
        tensor: the table.
        own: the tensor that it should fit.
        grid: that ``own`` is for.
    """
    if tensor.ndim != own.ndim or tensor.shape[-1] != own.shape[-1]:
        return None
    if name.endswith("pos_embed"):
        extra = own.shape[1] - math.prod(grid)
        old = _fixed_grid(tensor[0, extra:]) or _grid(tensor.shape[1] - extra, grid)
        return None if old is None else resample_table(tensor, old, grid, extra)
    if name.endswith("relative_position_bias_table"):
        extra = len(own) - math.prod(2 * side - 1 for side in grid)
        shape = _grid(len(tensor) - extra, (2 * grid[0] - 1, 2 * grid[1] - 1), odd=True)
        return None if shape is None else resample_bias(tensor, ((shape[0] + 1) // 2, (shape[1] + 1) // 2), grid)
    return None


def _grid(count: int, like: Sides, odd: bool = False) -> Sides | None:
    """The square grid of so many places, or else the one whose sides are nearly as ``like``'s to each other."""
    if count < 1:
        return None
    root = math.isqrt(count)
    if root * root == count and (not odd or root % 2):
        return root, root
    pairs = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    pairs = [pair for pair in pairs if not odd or (pair[0] % 2 and pair[1] % 2)]
    wanted = math.log((like[0] + odd) / (like[1] + odd))
    near = [pair for pair in pairs if abs(math.log((pair[0] + odd) / (pair[1] + odd)) - wanted) < 1e-6]
    return near[0] if near else None


def _fixed_grid(codes: Tensor) -> Sides | None:
    """The grid whose fixed sine-cosine codes these are, ``[n, D]``; None: they are no such codes."""
    count, width = codes.shape
    if width % 4:
        return None
    for rows in range(1, count + 1):
        if count % rows == 0:
            table = sincos(Grid((rows, count // rows)), count, width)
            if torch.allclose(codes.float().cpu(), table, atol=1e-4):
                return rows, count // rows
    return None
