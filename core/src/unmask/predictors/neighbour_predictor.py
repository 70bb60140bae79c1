"""Neighbour predictor: codes are made anew from alike ones around them before another predictor reads them (DMT-JEPA,
Mo et al. 2024, arXiv:2405.17995)."""

from __future__ import annotations

from dataclasses import replace

import torch

from unmask.nn.neighbours import Neighbourhood
from unmask.parts import Predictor
from unmask.structures import Grid, Latent, Mask, Prediction, Tokens


class NeighbourPredictor(Predictor):
    """``predictor(head(codes))``, with the head of `NeighbourTeacher`'s targets: that one is a slow copy of this.

    Args:
        predictor: reads the new codes.
        encoder_width: D, width of the codes.
        num_neighbours: that each is made of, in [1, 9].
        depth: blocks of the head; 0: codes stay as they are.
        num_heads: of the head; must divide ``encoder_width``.

    Raises:
        ValueError: a number outside its range; when called, tokens that lie on no grid of two sides.
    """

    def __init__(
        self, predictor: Predictor, encoder_width: int, num_neighbours: int = 4, depth: int = 2, num_heads: int = 4
    ) -> None:
        super().__init__()
        self.head = Neighbourhood(encoder_width, num_neighbours, depth, num_heads)
        self.predictor = predictor

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        return self.predictor(replace(latent, values=self._around(latent, places, mask)), places, mask)

    def _around(self, latent: Latent, places: Tokens, mask: Mask) -> torch.Tensor:
        grid = grid_of(places)
        if latent.seen is None:
            return self.head(latent.values, grid, mask.valid)
        batch, count = mask.hidden.shape
        everywhere = latent.values.new_zeros(batch, count, latent.values.shape[-1])
        seen = ~mask.hidden if mask.valid is None else ~mask.hidden & mask.valid
        return latent.seen.gather(self.head(latent.seen.scatter(latent.values, everywhere), grid, seen))


def grid_of(places: Tokens) -> tuple[int, ...]:
    """Rows and columns.

    Raises:
        ValueError: there are none.
    """
    if not isinstance(places.layout, Grid) or len(places.layout.shape) != 2:
        raise ValueError(f"Neighbours must lie on a Grid of rows and columns, but lie on {places.layout}.")
    return places.layout.shape
