"""Random mask: every place equally likely (MAE, He et al. 2021, section 3; SimMIM for units)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unmask.draws import Draws
from unmask.parts import Candidates, MaskSampler
from unmask.schedules import Ratio
from unmask.structures import Grid, Layout, Mask, Set
from unmask.support.checks import at_least


class RandomMask(MaskSampler):
    """Hides places drawn evenly without replacement.

    Of U units it hides ``U - floor(U * (1 - ratio))``, which is ``ceil(U * ratio)``.

    Args:
        ratio: share to hide, in (0, 1), a schedule or a spread of it. MAE's default (figure 5).
        unit: side of the square (cube on a 3-D grid, run on a sequence) of places that are hidden
            together, at least 1. SimMIM (section 3.2) hides units of 32 pixels whatever the size
            of a place.

    Raises:
        ValueError: ``ratio`` or ``unit`` outside its range, a side of the grid (or a sequence's
            length) that is not a multiple of ``unit``, units of a set, or padding that cuts a unit.
    """

    def __init__(self, ratio: Ratio = 0.75, unit: int = 1) -> None:
        super().__init__(ratio)
        at_least(1, unit=unit)
        self.unit = unit

    def check(self, layout: Layout, num_tokens: int, valid: Tensor | None) -> None:
        super().check(layout, num_tokens, valid)
        if self.unit == 1:
            return
        if isinstance(layout, Set):
            raise ValueError(f"`unit` must be 1 on a Set, which has no neighbours, but is {self.unit}.")
        if isinstance(layout, Grid):
            self._check_divides(math.gcd(*layout.shape), f"the sides of {layout}")
        if valid is not None:
            unit_of, corners = self._units(layout, num_tokens, valid.device)
            if not torch.equal(valid, valid[:, corners][:, unit_of]):
                raise ValueError(f"Padding must leave units of {self.unit} places a side whole, but cuts some.")

    def count(self, num_tokens: int, layout: Layout, ratio: float | None) -> int:
        unit_size = self.unit ** len(_sides(layout, num_tokens))
        if not isinstance(layout, Grid):
            self._check_divides(num_tokens, f"a length of {num_tokens}")
        if self.unit > 1 and num_tokens < 2 * unit_size:
            raise ValueError(
                f"`unit` must leave at least 2 units to hide one, but {self.unit} places a side leave "
                f"{num_tokens // unit_size} of {num_tokens} tokens; nearest: 1."
            )
        return super().count(num_tokens // unit_size, layout, ratio) * unit_size

    def sample(self, among: Candidates, draws: Draws) -> Tensor | Mask:
        return self.drawn(among, draws)

    def drawn(self, among: Candidates, draws: Draws, later: Tensor | None = None) -> Tensor:
        """Which places are hidden ``[B, N]``: those of the least ``later`` ``[B, N]`` whole numbers first, if given."""
        valid = among.valid
        if self.unit == 1:
            keys = draws.uniform(valid.shape[1])
            return lowest(keys if later is None else keys + later, among.counts, valid)
        unit_of, corners = self._units(among.layout, valid.shape[1], valid.device)
        unit_size = self.unit ** len(_sides(among.layout, valid.shape[1]))
        unit_valid = valid[:, corners]  # [B, U]
        keys = draws.uniform(len(corners))
        keys = keys if later is None else keys + later[:, corners]
        return lowest(keys, among.counts // unit_size, unit_valid)[:, unit_of]

    def _check_divides(self, number: int, what: str) -> None:
        if number % self.unit:
            divisors = [d for d in range(1, number + 1) if number % d == 0]
            raise ValueError(
                f"`unit` must divide {what}, but is {self.unit}; "
                f"the nearest that does is {min(divisors, key=lambda d: abs(d - self.unit))}."
            )

    def _units(self, layout: Layout, num_tokens: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The unit that each place belongs to ``[N]``, and each unit's first place ``[U]``."""
        sides = _sides(layout, num_tokens)
        places = torch.arange(num_tokens, device=device).view(sides)
        corners = places[tuple(slice(None, None, self.unit) for _ in sides)]
        unit_of = torch.arange(corners.numel(), device=device).view(corners.shape)
        for axis, side in enumerate(sides):
            unit_of = unit_of.repeat_interleave(self.unit, dim=axis).narrow(axis, 0, side)
        return unit_of.flatten(), corners.flatten()


def lowest(keys: Tensor, counts: Tensor, valid: Tensor) -> Tensor:
    """The ``counts`` ``[B]`` valid places with the lowest ``keys`` ``[B, N]`` of each row, as a bool."""
    keys = keys.masked_fill(~valid, float("inf"))
    rank = (counts[:, None] - 1).clamp(min=0)
    if keys.device.type == "cpu" and bool((rank == rank[0]).all()):  # a sixth of sorting's time
        last = keys.kthvalue(int(rank[0]) + 1, dim=-1, keepdim=True).values
    else:
        last = keys.sort(dim=-1).values.gather(1, rank)  # [B, 1]
    below, equal = keys < last, keys == last
    # Of places that are equal to the last one, the first are taken.
    left = counts[:, None] - below.sum(1, keepdim=True)
    return below | (equal & (equal.cumsum(1) <= left))


def _sides(layout: Layout, num_tokens: int) -> tuple[int, ...]:
    return layout.shape if isinstance(layout, Grid) else (num_tokens,)
