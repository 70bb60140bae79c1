"""Block mask of patches: the nearest ones to a random centre (Point-BERT, Yu et al. 2022, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask import Layout, Mask, MaskSampler, Schedule
from unmask.masks import lowest
from unmask_pointcloud.layout import Points


class PatchBlockMask(MaskSampler):
    """Hides one patch, drawn evenly, and those whose centres are nearest to its own; of equally near ones the first.

    Args:
        ratio: share of a cloud's patches to hide, in (0, 1), or a schedule of it. Point-MAE (table 6) compares
            0.6 of this mask with 0.6 at random.
        max_ratio: where given, each cloud's share is drawn evenly between ``ratio`` and this, in [ratio, 1).
            Point-BERT's release: 0.25 and 0.45.

    Differs from the papers' code in that counts are rounded up, as everywhere here.

    Raises:
        ValueError: a ratio outside its range, a schedule of it beside ``max_ratio``, or tokens without centres.
    """

    layouts = (Points,)

    def __init__(self, ratio: float | Schedule = 0.6, max_ratio: float | None = None) -> None:
        super().__init__(ratio)
        if max_ratio is not None:
            if isinstance(ratio, Schedule):
                raise ValueError(f"`ratio` must be a number where `max_ratio` is given, but is {ratio}.")
            if not ratio <= max_ratio < 1:
                raise ValueError(f"`max_ratio` must be in [ratio = {ratio}, 1), but is {max_ratio}.")
        self.max_ratio = max_ratio

    def sample(self, valid: Tensor, counts: Tensor, layout: Layout, generator: torch.Generator | None) -> Tensor | Mask:
        assert isinstance(layout, Points)  # `check` has seen to it
        centres = layout.dense(valid).float()  # [B, N, 3]
        draw = torch.rand(valid.shape, generator=generator, device=valid.device)
        first = draw.masked_fill(~valid, -1).argmax(1)  # [B]
        middle = centres.gather(1, first[:, None, None].expand(-1, 1, 3))
        distance = (centres - middle).square().sum(-1)  # [B, N]
        # not a near twin of it: what is drawn is hidden
        distance.scatter_(1, first[:, None], -1)
        if self.max_ratio is None:
            return lowest(distance, counts, valid)
        share = torch.rand(len(valid), generator=generator, device=valid.device, dtype=torch.float64)
        ratio = self.ratio + share * (self.max_ratio - self.ratio)  # type: ignore[operator]
        length = valid.sum(1)
        kept = (length * (1 - ratio) + 1e-9).floor().long().clamp(min=1)
        return Mask(lowest(distance, torch.minimum(length - kept, length - 1).clamp(min=1), valid))
