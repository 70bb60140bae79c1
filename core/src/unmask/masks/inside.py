"""Inside mask: places of objects are hidden, and no others (DistFormer, Panariello et al. 2024, arXiv:2401.03191)."""

from __future__ import annotations

import torch

from unmask.draws import Draws
from unmask.masks.random import lowest
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Ratio
from unmask.structures import Layout, Mask


class InsideMask(MaskSampler):
    """Hides a share of the places that are inside of objects, drawn evenly; a sample without objects stays as it is.

    Tokens carry as a note ``[B, N]`` or ``[B, N, O]`` bool which places are inside, of each of O objects. Of I places
    inside, ``I - floor(I * (1 - ratio))`` are hidden, and at least one place of a sample is visible.

    Args:
        ratio: share of the places inside, in (0, 1), a schedule or a spread of it.
        note: the name of the note.

    Raises:
        ValueError: a ratio out of range; when called, packed tokens, or tokens without that note.
    """

    layouts = (Layout,)
    grid_sides = (1, 2, 3, 4)

    def __init__(self, ratio: Ratio = 0.75, note: str = "boxes") -> None:
        super().__init__(ratio)
        self.note = note

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        tokens = among.tokens
        if tokens.offsets is not None:
            raise ValueError("InsideMask works on dense tokens, but these are packed; pad them.")
        inside = (tokens.notes or {}).get(self.note)
        if inside is None:
            have = ", ".join(tokens.notes or ()) or "none"
            raise ValueError(f"InsideMask needs tokens with a note `{self.note}`, but they have {have}.")
        inside = inside.bool() if inside.ndim == 2 else inside.bool().any(-1)
        inside = inside & among.valid
        ratios = self._ratios(among.progress, draws)  # those that the counts of all places were made of
        size = inside.sum(1)  # [B]
        shown = (size * (1 - torch.as_tensor(ratios, device=size.device, dtype=torch.float64)) + 1e-9).long()
        counts = torch.minimum(size - shown, among.valid.sum(1) - 1)
        return Mask(lowest(draws.uniform(inside.shape[1]), counts, inside))
