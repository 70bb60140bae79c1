"""Place ids: where in its sample each asked token lies (MP3, Zhai et al. 2022, arXiv:2207.07611)."""

from __future__ import annotations

from torch import Tensor

from unmask.parts import Target
from unmask.step import Given
from unmask.structures import Mask, Tokens


class PlaceIds(Target):
    """The number of each asked place among the N of its sample, ``[B, M]`` in [0, N): of a grid, row by row.

    What is asked is the order of a sample, so the encoder must know of no positions.
    """

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        index = mask.asked.index
        if tokens.offsets is None:
            return index
        return index - tokens.offsets[tokens.owner[index]]
