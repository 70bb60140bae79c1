"""Tokens that are cells of a regular field (patches of an image, of a volume, of a signal), and the field again."""

from __future__ import annotations

import math

from torch import Tensor

from unmask.structures import Grid, Layout, Sequence


def assembled(values: Tensor, layout: Layout, channels: int = 1) -> Tensor:
    """The field that cells were cut from, channels first: ``[B, N, V]`` to ``[B, C, *sides]``.

    A cell is as long on each side; its values are in row-major order with channels last: (row, column, channel).

    Args:
        values: of the cells, ``V = side ** number of sides * C``.
        layout: a `Grid`, or a `Sequence` for a field of one side.
        channels: C.

    Raises:
        ValueError: another layout, or a width that no such cell has.
    """
    shape = _shape(layout, values.shape[1])
    side, sides = cell_side(values.shape[-1], len(shape), channels), len(shape)
    x = values.view(-1, *shape, *[side] * sides, channels)  # [B, *grid, *cell, C]
    order = [axis for pair in zip(range(1, sides + 1), range(sides + 1, 2 * sides + 1), strict=True) for axis in pair]
    x = x.permute(0, 2 * sides + 1, *order)
    return x.reshape(len(values), channels, *(count * side for count in shape))


def cut(field: Tensor, layout: Layout, num_tokens: int) -> Tensor:
    """The inverse of `assembled`: ``[B, C, *sides]`` to ``[B, N, V]``."""
    shape = _shape(layout, num_tokens)
    sides = len(shape)
    split = [n for length, count in zip(field.shape[2:], shape, strict=True) for n in (count, length // count)]
    x = field.reshape(len(field), field.shape[1], *split)
    grid, cell = range(2, 2 * sides + 1, 2), range(3, 2 * sides + 2, 2)
    return x.permute(0, *grid, *cell, 1).reshape(len(field), num_tokens, -1)


def cell_side(width: int, num_sides: int, channels: int) -> int:
    """How long each side of a cell of so many values is.

    Raises:
        ValueError: no cell of ``channels`` has as many.
    """
    side = round((width / channels) ** (1 / num_sides))
    if width % channels or side**num_sides * channels != width:
        raise ValueError(
            f"`channels` must divide the {width} values of a token into {num_sides}-D cells of equal sides, but is "
            f"{channels}; nearest: {_nearest(width, num_sides, channels)}."
        )
    return side


def _nearest(width: int, num_sides: int, channels: int) -> int:
    fits = [
        c
        for c in range(1, width + 1)
        if width % c == 0 and round((width / c) ** (1 / num_sides)) ** num_sides * c == width
    ]
    return min(fits, key=lambda c: abs(c - channels))


def _shape(layout: Layout, num_tokens: int) -> tuple[int, ...]:
    shape = layout.shape if isinstance(layout, Grid) else (num_tokens,)
    if not isinstance(layout, Grid | Sequence):
        raise ValueError(f"Tokens must lie on a Grid or in a Sequence to be put together, but lie on a {layout}.")
    if math.prod(shape) != num_tokens:
        raise ValueError(f"A grid of shape {shape} has {math.prod(shape)} places, but there are {num_tokens} tokens.")
    return shape
