"""The layout of point patches: a set of which each member lies around a centre in space."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask import Set


@dataclass(frozen=True, eq=False, repr=False)
class Points(Set):
    """Tokens that lie around centres. To core's masks they are a set; those of this package read where they lie.

    Args:
        centres: ``[B, N, 3]``, packed ``[T, 3]``, in the cloud's unit. What padding holds does not matter.
    """

    centres: Tensor

    def __repr__(self) -> str:
        return "Points"

    def dense(self, valid: Tensor) -> Tensor:
        """The centres ``[B, N, 3]`` of dense and packed tokens alike, 0 at padding.

        Args:
            valid: ``[B, N]`` bool, False at padding.
        """
        if self.centres.ndim == 3:
            return self.centres.masked_fill(~valid[..., None], 0)
        return self.centres.new_zeros(*valid.shape, 3).masked_scatter(valid[..., None], self.centres)
