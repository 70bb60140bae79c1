"""Time-frequency blocks: targets whose times and frequencies are out of sight (A-JEPA, Fei et al. 2023, section 3)."""

from __future__ import annotations

import math

from torch import Tensor

from unmask import Grid, Layout
from unmask.masks import MultiBlockMask, between, cells


class TimeFrequencyBlockMask(MultiBlockMask):
    """Asks for answers in ``num_targets`` blocks, given a context that shares no time and no frequency with them.

    What sounds at a time or a frequency goes on beside it, so a block that is only cut out (`MultiBlockMask`) can be
    filled from its borders. Here all patches in the same rows or columns as a target are hidden, too. A block's sides
    are in the grid's own proportion: three of 5 to 7.5% are a quarter of each axis wide and always leave a context.
    Drawing, padding and contexts of one size are `MultiBlockMask`'s.

    Args:
        num_targets: target blocks, at least 1. Appendix A, as are the next two.
        target_scale: least and greatest share of the grid in a target, in (0, 1).
        context_scale: least and greatest share of the grid in the context block, in (0, 1].
        min_keep: places that the context keeps at least, 1 or more; on a small grid at most an eighth of it. Where no
            position drawn keeps as many, the sample's targets all lie on one another.

    Raises:
        ValueError: an argument outside its range, a layout other than a 2-D grid, padding other than whole rows and
            columns at its end, or a clip of fewer than 2 patches a side.

    Differs from the paper, which gives scales but neither code nor the blocks' proportions, as told above.
    """

    small = 8

    def __init__(
        self,
        num_targets: int = 3,
        target_scale: tuple[float, float] = (0.05, 0.075),
        context_scale: tuple[float, float] = (0.85, 1.0),
        min_keep: int = 10,
    ) -> None:
        super().__init__(num_targets, target_scale, context_scale=context_scale, min_keep=min_keep)

    def check(self, layout: Layout, num_tokens: int, valid: Tensor | None) -> None:
        super().check(layout, num_tokens, valid)
        assert isinstance(layout, Grid)  # or refused above
        if min(layout.shape) < 2:
            has = " x ".join(map(str, layout.shape))
            raise ValueError(f"A clip must have at least 2 patches a side, but one has {has}; leave out shorter ones.")

    def sizes(self, rows: int, columns: int, u: float, v: float) -> tuple[tuple[int, int], tuple[int, int]]:
        target, context = math.sqrt(between(self.target_scale, u)), math.sqrt(between(self.context_scale, v))
        most = rows - 1, columns - 1
        return _block(rows, columns, target, most), _block(rows, columns, context, (rows, columns))

    def spared(self, rows: Tensor, columns: Tensor) -> Tensor:
        return cells(~rows.any(-2), ~columns.any(-2))


def _block(rows: int, columns: int, share: float, most: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a block that has that share of each side."""
    return min(max(round(rows * share), 1), most[0]), min(max(round(columns * share), 1), most[1])
