"""No mask: everything is shown and nothing asked, for a view that another one is predicted from."""

from __future__ import annotations

import torch

from unmask.draws import Draws
from unmask.parts import Candidates, MaskSampler
from unmask.structures import Layout, Mask


class NoMask(MaskSampler):
    """Hides nothing. Where it stands for one of several parts, answers are asked of the others."""

    layouts = (Layout,)
    grid_sides = (1, 2, 3, 4)

    def __init__(self) -> None:
        super().__init__()

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        return Mask(torch.zeros_like(among.valid), num_hidden=0)
