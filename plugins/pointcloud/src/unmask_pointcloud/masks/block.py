"""Block mask of patches: the nearest ones to a random centre (Point-BERT, Yu et al. 2022, section 3.3)."""

from __future__ import annotations

from torch import Tensor

from unmask import Candidates, Draws, Mask, MaskSampler, Ratio
from unmask.masks import lowest
from unmask_pointcloud.layout import Points


class PatchBlockMask(MaskSampler):
    """Hides one patch, drawn evenly, and those whose centres are nearest to its own; of equally near ones the first.

    Args:
        ratio: share of a cloud's patches to hide, in (0, 1), a schedule or a spread of it. Point-MAE (table 6) compares
            0.6 of this mask with 0.6 at random. Point-BERT's release draws it evenly from 0.25 to 0.45.

    Differs from the papers' code in that counts are rounded up, as everywhere here.

    Raises:
        ValueError: a ratio outside its range, or tokens without centres.
    """

    layouts = (Points,)

    def __init__(self, ratio: Ratio = 0.6) -> None:
        super().__init__(ratio)

    def sample(self, among: Candidates, draws: Draws) -> Tensor | Mask:
        valid, layout = among.valid, among.layout
        assert isinstance(layout, Points)  # `check` has seen to it
        centres = layout.dense(valid).float()  # [B, N, 3]
        draw = draws.uniform(valid.shape[1])
        first = draw.masked_fill(~valid, -1).argmax(1)  # [B]
        middle = centres.gather(1, first[:, None, None].expand(-1, 1, 3))
        distance = (centres - middle).square().sum(-1)  # [B, N]
        # not a near twin of it: what is drawn is hidden
        distance.scatter_(1, first[:, None], -1)
        return lowest(distance, among.counts, valid)
