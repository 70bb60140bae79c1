"""Masks of patches: the contract, and by hand what makes a block or a sector."""

import math

import pytest
import torch

from unmask import Grid, Sequence, Set, Tokens, Uniform, num_to_hide
from unmask.masks import RandomMask
from unmask.testing import MaskContract, streams
from unmask_pointcloud.layout import Points
from unmask_pointcloud.masks import PatchBlockMask, SectorMask


class PointsContract(MaskContract):
    layouts = [Points(torch.zeros(1, 1, 3))]

    def _dense(self, layout, batch) -> Tokens:
        if not isinstance(layout, Points):
            return super()._dense(layout, batch)
        centres = torch.randn(batch, self.num_tokens, 3, generator=torch.Generator().manual_seed(0))
        return Tokens(torch.zeros(batch, self.num_tokens, 4, 3), Points(centres), centres)

    def _padded(self, layout) -> Tokens:
        tokens = self._dense(layout, 4)
        valid = torch.arange(48) < torch.tensor([48, 36, 24, 12])[:, None]
        return Tokens(tokens.values, tokens.layout, tokens.positions, valid)

    @staticmethod
    def _packed(dense) -> Tokens:
        packed = MaskContract._packed(dense)
        return Tokens(packed.values, Points(dense.layout.centres[dense.valid]), offsets=packed.offsets)


class TestBlock(PointsContract):
    refused = [Set(), Sequence(), Grid((6, 8))]

    def make(self, **options):
        return PatchBlockMask(**options)


class TestSector(PointsContract):
    refused = [Set(), Sequence(), Grid((6, 8))]

    def make(self, **options):
        return SectorMask(**options)


class TestRandom(PointsContract):
    """To core's masks points are a set."""

    def make(self, **options):
        return RandomMask(**options)


def tokens_of(centres, valid=None):
    return Tokens(torch.zeros(*centres.shape[:2], 4, 3), Points(centres), centres, valid)


def draw(mask, tokens, seed=0):
    return mask(tokens, None, streams(tokens, seed))


def test_a_block_is_a_ball_about_a_patch():
    centres = torch.randn(200, 32, 3, generator=torch.Generator().manual_seed(0))
    hidden = draw(PatchBlockMask(0.4), tokens_of(centres)).hidden
    assert set(hidden.sum(1).tolist()) == {num_to_hide(32, 0.4)}
    distance = torch.cdist(centres, centres)
    balls = 0
    for row, covered in zip(distance, hidden, strict=True):
        reach = row[:, covered].amax(1), row[:, ~covered].amin(1)
        balls += bool((covered & (reach[0] <= reach[1])).any())
    assert balls == 200


def test_every_patch_is_as_often_the_middle():
    """On two far clusters of 3 and 1: hiding 1 of 4 hides each of them in a quarter of the draws."""
    centres = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [9, 9, 9]]).expand(4000, -1, -1)
    share = draw(PatchBlockMask(0.25), tokens_of(centres)).hidden.float().mean(0)
    assert torch.allclose(share, torch.tensor(0.25), atol=4 * math.sqrt(0.25 * 0.75 / 4000))


def test_twins_do_not_stand_in_for_the_middle():
    """Patches at one place are equally near; the one drawn is hidden all the same."""
    share = draw(PatchBlockMask(0.25), tokens_of(torch.zeros(4000, 4, 3))).hidden.float().mean(0)
    assert torch.allclose(share, torch.tensor(0.25), atol=4 * math.sqrt(0.25 * 0.75 / 4000))


def test_a_range_of_ratios_is_drawn_evenly_for_each_cloud():
    centres = torch.randn(3000, 64, 3, generator=torch.Generator().manual_seed(0))
    mask = draw(PatchBlockMask(Uniform(0.25, 0.45)), tokens_of(centres))
    counts = mask.hidden.sum(1)
    assert mask.num_hidden is None
    assert (counts.min(), counts.max()) == (17, 29)  # 64 - floor(64 * 0.75 - something), 64 - floor(64 * 0.55)
    often = torch.bincount(counts, minlength=30)[17:29].float()
    assert (often / 3000 * 12.8 - 1).abs().max() < 0.4  # each count stands for 1 / 64 of a range of 0.2
    valid = torch.arange(64) < torch.tensor([64, 2, 10]).repeat(1000)[:, None]
    hidden = draw(PatchBlockMask(Uniform(0.25, 0.45)), tokens_of(centres, valid)).hidden
    assert not (hidden & ~valid).any()
    assert ((hidden.sum(1) > 0) & (hidden.sum(1) < valid.sum(1))).all()


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_sectors_are_hidden_whole_but_one(axis):
    """Centres on a circle about the axis, at any height: of 8 sectors of 45 degrees 5 are hidden: 40 patches of 64."""
    angle = (torch.arange(64) + 0.5) / 64 * 2 * math.pi
    up = torch.randn(64, generator=torch.Generator().manual_seed(0)) * 9
    ring = torch.stack([angle.cos(), angle.sin(), up], dim=1)
    ring = ring.roll({"x": 1, "y": 2, "z": 0}[axis], dims=1).expand(50, -1, -1)
    hidden = draw(SectorMask(40 / 64, 8, axis), tokens_of(ring)).hidden
    edges = (hidden != hidden.roll(1, 1)).sum(1)
    assert set(hidden.sum(1).tolist()) == {40}
    # Runs are whole sectors of 8 patches, but that a turn between two patches may shift where the last one is cut.
    assert (edges <= 2 * 3 + 2).all()
    for row in hidden:
        start = int((row & ~row.roll(1)).nonzero()[0])
        runs = "".join(str(int(one)) for one in row.roll(-start)).split("0")
        lengths = [len(run) for run in runs if run]
        assert sum(length % 8 not in (0, 7, 1) for length in lengths) <= 1, lengths
    assert len(hidden.unique(dim=0)) > 20


def test_sectors_about_the_centres_do_not_move_with_the_cloud():
    centres = torch.randn(10, 32, 3, generator=torch.Generator().manual_seed(0)).double()
    mask = SectorMask(0.5, about="centres")
    moved = tokens_of(centres + torch.tensor([8.0, -4.0, 2.0]))
    assert torch.equal(draw(mask, tokens_of(centres)).hidden, draw(mask, moved).hidden)
    assert not torch.equal(draw(SectorMask(0.5), tokens_of(centres)).hidden, draw(SectorMask(0.5), moved).hidden)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PatchBlockMask(Uniform(0.5, 0.4)), "`high` must be at least `low`, 0.5, but is 0.4"),
        (lambda: SectorMask(num_sectors=1), "`num_sectors` must be at least 2, but is 1"),
        (lambda: SectorMask(axis="w"), "`axis` must be one of x, y, z, but is 'w'"),
        (lambda: SectorMask(about="it"), "`about` must be one of origin, centres, but is 'it'"),
    ],
)
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
