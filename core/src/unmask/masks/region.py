"""Region mask: one whole region is hidden, and of the others as much in proportion (FSFM, Wang et al. 2024,
arXiv:2412.12032)."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.masks.random import lowest
from unmask.masks.scored import shares_of
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Ratio
from unmask.structures import Layout, Mask
from unmask.support.checks import at_least


class RegionMask(MaskSampler):
    """Hides all places of one region, drawn evenly from those that a sample has, and the same share of each other one.

    Regions are what tokens carry as a note ``[B, N, R]`` bool: which of R regions each place belongs to. A place of
    several belongs to the region that is hidden whole, or else to the first one. If the region has more places than
    are to be hidden, places of it that are drawn evenly stay visible. Samples without a region are hidden at random.

    Args:
        ratio: share to hide, in (0, 1), a schedule or a spread of it. FSFM: 0.75.
        whole: numbers of the regions that may be hidden whole; None: all. FSFM: the first six of eight.
        region_weight: w of ``loss = mean over hidden places + w * mean over hidden places of that region``, the latter
            for each sample by itself, at least 0. FSFM: 0.007.
        note: the name of the note.

    Raises:
        ValueError: a number out of range; when called, packed tokens, tokens without that note, or a region that they
            do not have.

    Differs from FSFM in that the shares of other regions are rounded so that they add up, and in the mean over a
    region, which is there over all samples at once.
    """

    layouts = (Layout,)
    grid_sides = (1, 2, 3, 4)

    def __init__(
        self,
        ratio: Ratio = 0.75,
        whole: list[int] | None = None,
        region_weight: float = 0.0,
        note: str = "regions",
    ) -> None:
        super().__init__(ratio)
        at_least(0, region_weight=region_weight)
        if whole is not None and not whole:
            raise ValueError("`whole` must name at least one region, but is an empty list; nearest: null.")
        self.whole = whole
        self.region_weight = region_weight
        self.note = note

    def sample(self, among: Candidates, draws: Draws) -> Tensor | Mask:
        member = self._regions(among)  # [B, N, R]
        num_tokens = member.shape[1]
        region = self._chosen(member, draws)  # [B, R], at most one
        inside = (member & region[:, None]).any(-1)  # [B, N]

        # Each place outside belongs to the first of the other regions, or to none: the last one here.
        others = torch.cat([member & ~region[:, None], torch.ones_like(member[..., :1])], -1)
        owner = others.byte().argmax(-1)  # [B, N]
        rest = among.valid & ~inside
        each = torch.nn.functional.one_hot(owner, others.shape[-1]).bool() & rest[..., None]  # [B, N, R + 1]

        # The region comes first; what is left to hide is shared out in equal proportion.
        first = torch.minimum(inside.sum(1), among.counts)
        take = shares_of(each.sum(1), among.counts - first)  # [B, R + 1]
        keys = draws.uniform(num_tokens)
        hidden_inside = lowest(keys, first, inside)
        hidden = hidden_inside
        for number in range(each.shape[-1]):
            hidden = hidden | lowest(keys, take[:, number], each[..., number])
        if not self.region_weight:
            return hidden
        return self._weighted(hidden, hidden_inside, among)

    def _regions(self, among: Candidates) -> Tensor:
        tokens = among.tokens
        if tokens.offsets is not None:
            raise ValueError("RegionMask works on dense tokens, but these are packed; pad them.")
        member = (tokens.notes or {}).get(self.note)
        if member is None:
            have = ", ".join(tokens.notes or ()) or "none"
            raise ValueError(f"RegionMask needs tokens with a note `{self.note}`, but they have {have}.")
        for number in self.whole or []:
            if not 0 <= number < member.shape[-1]:
                raise ValueError(f"`whole` must be of regions 0 to {member.shape[-1] - 1}, but one is {number}.")
        return member.bool() & among.valid[..., None]

    def _chosen(self, member: Tensor, draws: Draws) -> Tensor:
        """The region that is hidden whole, of those that a sample has: ``[B, R]`` bool."""
        allowed = member.any(1)  # [B, R]
        if self.whole is not None:
            only = torch.zeros_like(allowed[0])
            only[self.whole] = True
            allowed = allowed & only
        return lowest(draws.named("region").uniform(allowed.shape[1]), allowed.any(1).long(), allowed)

    def _weighted(self, hidden: Tensor, inside: Tensor, among: Candidates) -> Mask:
        """The mask with how much each hidden place counts."""
        mean = hidden / hidden.sum()
        own = inside / (inside.sum(1, keepdim=True).clamp(min=1) * len(hidden))
        same = among.tokens.valid is None and bool((among.counts == among.counts[0]).all())
        num_hidden = int(among.counts[0]) if same else None
        return Mask(hidden, num_hidden=num_hidden, weight=(mean + self.region_weight * own).float())
