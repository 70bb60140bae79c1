"""Box mask: many boxes of bounded sides, laid until enough is hidden (GMML, Atito et al. 2022, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.masks.random import lowest
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Ratio
from unmask.structures import Grid, Sequence
from unmask.support.checks import inside


class BoxMask(MaskSampler):
    """Hides what random boxes cover: runs of a sequence, rectangles of a grid, cuboids of a volume.

    Each side of a box is drawn evenly between one place and ``max_side`` of the grid's, its corner evenly. Boxes are
    laid one after the other until the number to hide is reached; of the last one only some places are hidden, in no
    order. Where ``num_boxes`` do not cover enough, single places make up the count.

    Args:
        ratio: share to hide, in (0, 1), a schedule or a spread of it. GMML: drawn evenly in [0.5, 0.75].
        max_side: share of each side that a box's may have, in (0, 1]. GMML: 0.3.
        num_boxes: that are drawn, at least 1.

    Raises:
        ValueError: an argument outside its range, or a layout that is neither a sequence nor a grid.
    """

    layouts = (Sequence, Grid)

    def __init__(self, ratio: Ratio = 0.6, max_side: float = 0.3, num_boxes: int = 64) -> None:
        super().__init__(ratio)
        inside("(0, 1]", max_side=max_side)
        if num_boxes < 1:
            raise ValueError(f"`num_boxes` must be at least 1, but is {num_boxes}.")
        self.max_side, self.num_boxes = max_side, num_boxes

    def sample(self, among: Candidates, draws: Draws) -> Tensor:
        valid, layout = among.valid, among.layout
        shape = layout.shape if isinstance(layout, Grid) else (valid.shape[1],)
        lots = draws.uniform(self.num_boxes, len(shape), 2)  # [B, boxes, sides, 2]
        real = valid.view(-1, *shape)
        covered = torch.ones(len(valid), self.num_boxes, *shape, dtype=torch.bool, device=valid.device)
        for axis, side in enumerate(shape):
            used = (
                real.movedim(axis + 1, 1).reshape(len(real), side, -1).any(-1)
            )  # [B, side], where the sample has places at all
            first, extent = used.byte().argmax(1, keepdim=True), used.sum(1, keepdim=True)
            longest = (extent * self.max_side + 1e-6).long().clamp(min=1)  # [B, 1]
            length = 1 + (lots[:, :, axis, 0] * longest).long().minimum(longest - 1)  # [B, boxes]
            start = first + (lots[:, :, axis, 1] * (extent - length + 1)).long()
            at = torch.arange(side, device=valid.device)
            within = (at >= start[..., None]) & (at < (start + length)[..., None])  # [B, boxes, side]
            covered &= within.view(*within.shape[:2], *(side if i == axis else 1 for i in range(len(shape))))
        covered = covered.flatten(2)  # [B, boxes, N]
        first = torch.where(covered.any(1), covered.byte().argmax(1), self.num_boxes)  # [B, N]
        return lowest(first + 0.999 * draws.uniform(valid.shape[1]), among.counts, valid)
