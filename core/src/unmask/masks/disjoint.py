"""Disjoint masks: several masks of one sample that hide different places (DMJD, Ma et al. 2022, arXiv:2301.00230)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.masks.random import RandomMask
from unmask.parts import Candidates
from unmask.schedules import Ratio
from unmask.structures import Mask


class DisjointMask(RandomMask):
    """Masks of the same tokens, as views of one sample: each hides at random what the others have hidden least.

    With two views, the second hides as many of the first's visible places as there are, or as it needs. Parts of the
    joint mask are named ``view_0``, ``view_1`` and so on; an encoder codes each view by itself.

    Args:
        ratio: share that each view hides, in (0, 1), a schedule or a spread of it. DMJD (section 4.1): 0.6.
        unit: as of `RandomMask`. DMJD: 2.
        num_views: at least 1 (section 3.2).

    Raises:
        ValueError: as `RandomMask`; no view; when called, packed tokens.
    """

    def __init__(self, ratio: Ratio = 0.6, unit: int = 1, num_views: int = 2) -> None:
        super().__init__(ratio, unit)
        if num_views < 1:
            raise ValueError(f"`num_views` must be at least 1, but is {num_views}.")
        self.num_views = num_views

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        if among.tokens.offsets is not None:
            raise ValueError("DisjointMask works on dense tokens, but these are packed; pad them.")
        times: Tensor = torch.zeros(among.valid.shape, device=among.valid.device)  # each place was hidden so often
        same = among.tokens.valid is None and bool((among.counts == among.counts[0]).all())
        num_hidden = int(among.counts[0]) if same else None
        views: dict[str, Mask] = {}
        for number in range(self.num_views):
            own = draws.named(f"view_{number}")
            hidden = self.drawn(among, own, times)
            views[f"view_{number}"] = Mask(hidden, valid=among.tokens.valid, num_hidden=num_hidden, draws=own)
            times = times + hidden
        return Mask.join(views)
