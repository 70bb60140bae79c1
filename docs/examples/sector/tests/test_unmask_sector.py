"""The mask keeps the contract that every mask of unmask keeps, and hides a sector."""

import torch
from unmask import Draws, Grid, Sequence, Set, Tokens
from unmask.testing import MaskContract

from unmask_sector.mask import SectorMask


class TestSectorMask(MaskContract):
    layouts = (Grid((4, 4)), Grid((14, 14)), Grid((5, 9)))
    refused = (Set(), Sequence(), Grid((2, 4, 4)))
    ragged = ()

    def make(self, **options):
        return SectorMask(**options)


def test_a_quarter_is_a_right_angle():
    """The directions of what is hidden span no more than 90 degrees, and one place on the grid's diagonals."""
    side = 40
    mask = SectorMask(ratio=0.25)(
        Tokens(torch.zeros(16, side * side, 1), Grid((side, side))), draws=Draws.of(0, torch.arange(16))
    )
    at = torch.linspace(-1, 1, side)
    direction = torch.complex(at, torch.zeros(side)) + 1j * at[:, None]  # columns to the right, rows downwards
    for hidden in mask.hidden:
        units = direction.flatten()[hidden] / direction.flatten()[hidden].abs()
        spread = torch.angle(units / units.mean()).abs().max() * 2
        assert 75 < spread.rad2deg() < 105  # a square's corners hold more places than its sides


def test_it_is_one_piece():
    """Every hidden place has a hidden neighbour."""
    hidden = SectorMask()(Tokens(torch.zeros(64, 196, 1), Grid((14, 14)))).hidden.view(-1, 1, 14, 14).float()
    near = torch.nn.functional.max_pool2d(hidden, 3, 1, 1)
    around = torch.nn.functional.conv2d(hidden, torch.tensor([[[[1.0, 1, 1], [1, 0, 1], [1, 1, 1]]]]), padding=1)
    assert (near >= hidden).all()
    assert (around[hidden > 0] >= 1).all()
