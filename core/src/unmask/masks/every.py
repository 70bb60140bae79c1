"""Every place: what is hidden is a part of each value (its frequencies, its precision), as the corruption says."""

from __future__ import annotations

from unmask.draws import Draws
from unmask.parts import Candidates, MaskSampler
from unmask.structures import Layout, Mask


class EveryMask(MaskSampler):
    """Hides all places, for a corruption that shows something of each of them; nothing is visible as it is."""

    layouts = (Layout,)
    grid_sides = (1, 2, 3, 4)

    def __init__(self) -> None:
        super().__init__()

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        whole = among.tokens.valid is None and among.tokens.offsets is None
        return Mask(among.valid.clone(), num_hidden=among.valid.shape[1] if whole else None)
