"""Every mask keeps the contract, and hides what its name says."""

import math

import numpy as np
import pytest
import torch

from unmask import Grid, Linear, Progress, Sequence, Set, Tokens, seeds
from unmask.masks import (
    ApartMask,
    BlockMask,
    BoxMask,
    ColorNoiseMask,
    DisjointMask,
    EveryMask,
    GridMask,
    IrregularMask,
    MultiBlockMask,
    PartitionMask,
    PrefixMask,
    RandomMask,
    SeveralMasks,
    SpanMask,
    TubeMask,
)
from unmask.parts import num_to_hide
from unmask.schedules import Uniform, at
from unmask.testing.contract import streams
from unmask.testing.joint_masks import JointMaskContract
from unmask.testing.masks import MaskContract

ALL_KINDS = (Set, Sequence, Grid)


class TestRandomMask(MaskContract):
    layouts = [Set(), Sequence(), Grid((4, 4)), Grid((5, 7)), Grid((2, 4, 4))]
    refused = [Grid((16,)), Grid((2, 2, 2, 2))]
    ragged = ALL_KINDS

    def make(self, **options):
        return RandomMask(**options)


class TestRandomMaskUnits(MaskContract):
    overrides = {"test_padding_is_refused_where_it_does_not_work": "padding is refused only where it cuts a unit"}
    layouts = [Sequence(), Grid((4, 4)), Grid((6, 4)), Grid((4, 6, 4))]
    refused = [Set(), Grid((16,))]
    ragged = (Sequence,)

    def make(self, **options):
        return RandomMask(**({"ratio": 0.6, "unit": 2} | options))

    def expected(self, sampler, num_tokens, layout, progress):
        size = 2 ** (len(layout.shape) if isinstance(layout, Grid) else 1)
        return num_to_hide(num_tokens // size, at(sampler.ratio, progress)) * size

    def test_padding_is_refused_where_it_does_not_work(self):
        cut = torch.ones(2, 16, dtype=torch.bool)
        cut[0, 12:] = False  # three of four rows: the lower units lose half
        with pytest.raises(ValueError, match=r"Padding must leave units of 2"):
            self.make()(Tokens(torch.zeros(2, 16, 3), Grid((4, 4)), valid=cut))


class TestBlockMask(MaskContract):
    overrides = {"test_padding_is_never_chosen": "a grid of one row cannot lose any"}
    layouts = [Sequence(), Grid((4, 4)), Grid((14, 14)), Grid((3, 9)), Grid((1, 8))]
    refused = [Set(), Grid((2, 4, 4))]
    ragged = ALL_KINDS

    def make(self, **options):
        return BlockMask(**options)

    def test_padding_is_never_chosen(self):
        self.layouts = [layout for layout in self.layouts if layout != Grid((1, 8))]  # one row cannot lose any
        super().test_padding_is_never_chosen()


class TestMultiBlockMask(MaskContract):
    together = True
    layouts = [Grid((4, 4)), Grid((14, 14)), Grid((2, 2)), Grid((3, 8))]
    refused = [Set(), Sequence(), Grid((2, 4, 4))]
    ragged = (Grid,)

    def make(self, **options):
        return MultiBlockMask(**options)

    def expected(self, sampler, num_tokens, layout, progress):
        return None


class TestGridMask(MaskContract):
    layouts = [Sequence(), Grid((4, 4)), Grid((5, 7)), Grid((2, 4, 4))]
    refused = [Set(), Grid((16,))]
    ragged = (Sequence,)

    def make(self, **options):
        return GridMask(**options)

    def expected(self, sampler, num_tokens, layout, progress):
        sides = layout.shape if isinstance(layout, Grid) else (num_tokens,)
        return num_tokens - math.prod((side + 1) // 2 for side in sides)


class TestColorNoiseMask(MaskContract):
    layouts = [Sequence(), Grid((4, 4)), Grid((14, 14)), Grid((2, 4, 4))]
    refused = [Set()]
    ragged = ALL_KINDS

    def make(self, **options):
        return ColorNoiseMask(**options)


class TestSpanMask(MaskContract):
    layouts = [Sequence()]
    refused = [Set(), Grid((4, 4)), Grid((2, 4, 4))]

    def make(self, **options):
        return SpanMask(**options)


class TestGeometricSpanMask(TestSpanMask):
    def make(self, **options):
        return SpanMask(**({"ratio": 0.5, "geometric": 0.2} | options))


class TestTubeMask(MaskContract):
    layouts = [Grid((2, 4, 4)), Grid((8, 7, 5))]
    refused = [Set(), Sequence(), Grid((4, 4))]
    ragged = (Grid,)

    def make(self, **options):
        return TubeMask(**options)

    def expected(self, sampler, num_tokens, layout, progress):
        plane = math.prod(layout.shape[1:])
        return num_to_hide(plane, at(sampler.ratio, progress)) * (num_tokens // plane)


def draw(sampler, layout, batch=500, num_tokens=None, seed=0):
    """hidden, shaped like the layout: [B, *sides]."""
    sides = layout.shape if isinstance(layout, Grid) else (num_tokens,)
    tokens = Tokens(torch.zeros(batch, math.prod(sides), 1), layout)
    return sampler(tokens, None, streams(tokens, seed)).hidden.view(batch, *sides)


def pieces(hidden):
    """Sizes of the 4-connected pieces of one 2-D mask."""
    left, sizes = {tuple(at) for at in np.argwhere(hidden)}, []
    while left:
        reached = [left.pop()]
        for row, column in reached:
            for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if near in left:
                    left.remove(near)
                    reached.append(near)
        sizes.append(len(reached))
    return sizes


def runs(hidden):
    """Lengths of the runs of True in one 1-D mask."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


def test_random_is_even_over_places():
    hidden = draw(RandomMask(0.75), Grid((6, 6)), batch=5000)
    counts = hidden.flatten(1).sum(0).double()
    # Without replacement the variance of a count is B p (1 - p) and the counts sum to a constant.
    chi_square = ((counts - 3750) ** 2 / (5000 * 0.75 * 0.25)).sum() * 35 / 36
    assert 14 < chi_square < 67  # 35 degrees of freedom: outside this once in a thousand times


def test_random_places_are_not_related():
    hidden = draw(RandomMask(0.5), Set(), batch=5000, num_tokens=12).double()
    correlation = torch.corrcoef(hidden.T) - torch.eye(12)
    off_diagonal = correlation[~torch.eye(12, dtype=torch.bool)]
    assert (off_diagonal - -1 / 11).abs().max() < 0.06  # exactly -1 / (N - 1) without replacement


def test_random_units_are_hidden_whole():
    units = draw(RandomMask(0.6, unit=4), Grid((12, 8))).unflatten(1, (3, 4)).unflatten(3, (2, 4))
    assert (units.any((2, 4)) == units.all((2, 4))).all()
    assert (units.all((2, 4)).sum((1, 2)) == math.ceil(6 * 0.6)).all()


def test_a_unit_that_does_not_fit_names_the_nearest_that_does():
    with pytest.raises(ValueError, match=r"`unit` must divide .*Grid.*but is 3; the nearest that does is 2"):
        draw(RandomMask(0.6, unit=3), Grid((4, 4)))
    with pytest.raises(ValueError, match=r"`unit` must divide a length of 10, but is 4; the nearest"):
        draw(RandomMask(0.6, unit=4), Sequence(), num_tokens=10)


@pytest.mark.parametrize(("shape", "ratio"), [((14, 14), 0.4), ((4, 4), 0.5), ((8, 8), 0.75), ((14, 14), 0.9)])
def test_blocks_hang_together(shape, ratio):
    blocks = [pieces(hidden.numpy()) for hidden in draw(BlockMask(ratio), Grid(shape), batch=200)]
    randoms = [pieces(hidden.numpy()) for hidden in draw(RandomMask(ratio), Grid(shape), batch=200)]
    assert np.mean([len(sizes) for sizes in blocks]) < np.mean([len(sizes) for sizes in randoms])
    assert min(min(sizes) for sizes in blocks) > 1  # nothing is hidden in isolation


def test_block_pieces_are_far_larger_than_random_ones():
    sizes = [np.mean(pieces(hidden.numpy())) for hidden in draw(BlockMask(0.4), Grid((14, 14)), batch=200)]
    random = [np.mean(pieces(hidden.numpy())) for hidden in draw(RandomMask(0.4), Grid((14, 14)), batch=200)]
    assert np.mean(sizes) > 10 * np.mean(random)
    assert min(min(pieces(hidden.numpy())) for hidden in draw(BlockMask(0.4), Grid((14, 14)), batch=200)) >= 16


def test_blocks_lie_everywhere_and_in_both_directions():
    hidden = draw(BlockMask(0.4), Grid((10, 10)), batch=2000).double()
    share = hidden.mean(0)
    assert share.min() > 0.05  # corners too, though blocks that lie inside the grid reach them least
    assert (share - share.T).abs().max() < 0.06
    assert (share - share.flip(0)).abs().max() < 0.06


def test_blocks_on_a_sequence_are_runs():
    lengths = [run for hidden in draw(BlockMask(0.4), Sequence(), 300, 100) for run in runs(hidden.numpy())]
    assert min(lengths) >= 16


def test_blocks_work_at_every_ratio_on_a_tiny_grid():
    for ratio in (0.05, 0.25, 0.5, 0.75, 0.95):
        hidden = draw(BlockMask(ratio), Grid((4, 4)))
        assert (hidden.flatten(1).sum(1) == num_to_hide(16, ratio)).all()
        assert len(hidden.flatten(1).unique(dim=0)) >= 8


def test_targets_are_never_in_the_context():
    for shape in [(14, 14), (4, 4), (2, 2), (1, 9), (7, 3)]:
        sampler, tokens = MultiBlockMask(), Tokens(torch.zeros(300, math.prod(shape), 1), Grid(shape))
        for seed in range(20):
            mask = sampler(tokens, None, streams(tokens, seed))
            assert not (mask.predict & ~mask.hidden[:, None]).any()
            assert mask.hidden.shape[1] - mask.num_hidden >= min(10, max(math.prod(shape) // 4, 1))


def test_targets_are_blocks_of_the_papers_size():
    tokens = Tokens(torch.zeros(50, 196, 1), Grid((14, 14)))
    sizes = set()
    for seed in range(40):
        mask = MultiBlockMask()(tokens, None, streams(tokens, seed))
        targets = mask.predict.view(50, 4, 14, 14)
        rows, columns = targets.any(3).sum(2), targets.any(2).sum(2)
        assert (rows * columns == mask.num_predict).all()  # full rectangles, all of one size
        assert len(rows.unique()) == 1
        sizes.add((int(rows[0, 0]), int(columns[0, 0])))
    assert all(0.13 < rows * columns / 196 < 0.22 for rows, columns in sizes)
    assert all(0.6 < rows / columns < 1.7 for rows, columns in sizes)
    assert len(sizes) > 2


def blocks_of(num_rows, *, columns=8, rows=16):
    """A mask of samples that have so many rows of a grid."""
    valid = torch.arange(rows * columns) < columns * torch.tensor(num_rows)[:, None]
    tokens = Tokens(torch.zeros(*valid.shape, 1), Grid((rows, columns)), valid=valid)
    return MultiBlockMask()(tokens, None, streams(tokens, 0))


def test_blocks_are_shares_of_a_samples_own_part_of_the_grid():
    """Samples of 16 and of 8 rows: blocks of the first are twice as large, and each is drawn as on its own grid."""
    mask = blocks_of([16, 8] * 200)
    targets = mask.predict.view(200, 2, 4, 16, 8)
    assert not targets[:, 1, :, 8:].any()
    for own, rows in ((targets[:, 0], 16), (targets[:, 1], 8)):
        height, width = own.any(3).sum(2), own.any(2).sum(2)
        area = (height * width).unique()
        assert len(area) == 1
        assert torch.equal(own.sum((2, 3)), height * width)
        assert 0.11 < area.item() / (rows * 8) < 0.22
        assert own[:, :, 0].any() and own[:, :, rows - 1].any()
    kept = mask.visible.valid.sum(1).view(200, 2)
    assert (kept >= 10).all()
    assert kept[:, 0].double().mean() > 1.5 * kept[:, 1].double().mean()


def test_equally_padded_samples_are_drawn_as_without_the_padding():
    whole = Tokens(torch.zeros(8, 96, 1), Grid((12, 8)))
    mask, own = (
        blocks_of([12] * 8),
        MultiBlockMask()(whole, None, streams(whole, 0)),
    )
    assert torch.equal(mask.predict[..., :96], own.predict)
    assert not mask.predict[..., 96:].any()
    assert mask.num_hidden == own.num_hidden
    assert mask.visible.index.shape == (8, 96 - own.num_hidden)


def test_padding_amid_a_grid_is_refused():
    hole = torch.ones(2, 16, dtype=torch.bool)
    hole[1, 5] = False
    with pytest.raises(ValueError, match="padded by whole rows or columns at the end"):
        MultiBlockMask()(Tokens(torch.zeros(2, 16, 1), Grid((4, 4)), valid=hole))


def test_targets_may_touch_every_border():
    tokens = Tokens(torch.zeros(500, 196, 1), Grid((14, 14)))
    share = MultiBlockMask()(tokens, None, streams(tokens, 0)).predict.double().mean((0, 1)).view(14, 14)
    assert min(share[0].min(), share[-1].min(), share[:, 0].min(), share[:, -1].min()) > 0


def test_the_context_is_spread_over_the_grid():
    visible = ~draw(MultiBlockMask(), Grid((14, 14)), batch=500)
    centre = visible.double().mean(0)
    assert centre[:7].mean() / centre[7:].mean() == pytest.approx(1, abs=0.1)


def test_grid_keeps_one_place_of_each_cell_at_one_phase():
    visible = ~draw(GridMask(2), Grid((6, 8)), batch=200)
    cells = visible.unflatten(1, (3, 2)).unflatten(3, (4, 2)).transpose(2, 3)  # [B, 3, 4, 2, 2]
    assert (cells.sum((3, 4)) == 1).all()
    assert (cells == cells[:, :1, :1]).all()
    phases = cells[:, 0, 0].flatten(1).double().mean(0)
    assert ((phases - 0.25).abs() < 0.12).all()


def test_grid_counts_a_cut_cell():
    visible = ~draw(GridMask(3), Sequence(), batch=100, num_tokens=7)
    assert {tuple(row.nonzero().flatten().tolist()) for row in visible} == {(0, 3, 6), (1, 4, 6), (2, 5, 6)}
    assert ((~draw(GridMask(3), Grid((7, 5)))).sum((1, 2)) == 3 * 2).all()


def test_grid_follows_a_padded_sequence_from_its_own_start_to_its_own_end():
    valid = torch.zeros(64, 9, dtype=torch.bool)
    valid[:, 2:7] = True  # padded on both sides
    tokens = Tokens(torch.zeros(64, 9, 1), Sequence(), valid=valid)
    mask = GridMask(2)(tokens, None, streams(tokens, 0))
    kept = {tuple(row.nonzero().flatten().tolist()) for row in valid & ~mask.hidden}
    assert kept == {(2, 4, 6), (3, 5, 6)}


def spectrum(hidden):
    """Power of masks [B, R, C] in eight rings of frequency up to 0.5, relative to white noise of as many."""
    masks = hidden.double()
    masks = masks - masks.mean((1, 2), keepdim=True)
    power = torch.fft.fft2(masks).abs().square().mean(0) / masks.square().sum((1, 2)).mean()
    side = torch.fft.fftfreq(hidden.shape[-1])
    radius = (side[:, None] ** 2 + side**2).sqrt()
    ring = (radius * 16 - 1e-3).long()  # ring 0 holds up to 1 / 16, the lowest frequency there is
    return torch.stack([power[(ring == index) & (radius > 0)].mean() for index in range(8)])


@pytest.mark.parametrize("ratio", [0.5, 0.75])
def test_color_noise_has_the_spectrum_of_its_name(ratio):
    shape = Grid((16, 16))
    white = spectrum(draw(RandomMask(ratio), shape))
    assert ((white - 1).abs() < 0.1).all()

    # A threshold spreads power over all frequencies, so no band is empty.
    red = spectrum(draw(ColorNoiseMask(ratio, "red"), shape))
    assert (red.diff() < 0).all()
    assert red[0] > 5
    assert (red[5:] < 0.5).all()

    blue = spectrum(draw(ColorNoiseMask(ratio, "blue"), shape))
    assert (blue.diff() > 0).all()
    assert blue[7] > 2 * blue[0]

    green = spectrum(draw(ColorNoiseMask(ratio, "green"), shape))
    assert 2 <= green.argmax() <= 4
    assert green.max() > 2 * green[[0, 7]].max()

    purple = spectrum(draw(ColorNoiseMask(ratio, "purple"), shape))
    assert 2 <= purple.argmin() <= 4
    assert purple[[0, 7]].min() > 2 * purple.min()


def rings(hidden, num_rings=8):
    """Radially averaged power of masks ``[B, *sides]`` up to frequency 0.5, relative to white noise of as many."""
    axes = tuple(range(1, hidden.ndim))
    masks = hidden.double()
    masks = masks - masks.mean(axes, keepdim=True)
    power = torch.fft.fftn(masks, dim=axes).abs().square().mean(0) / masks.square().sum(axes).mean()
    square = sum(f**2 for f in torch.meshgrid(*(torch.fft.fftfreq(n) for n in hidden.shape[1:]), indexing="ij"))
    ring = (square.sqrt() * 2 * num_rings - 1e-3).long()
    return torch.stack([power[(ring == index) & (square > 0)].mean() for index in range(num_rings)])


@pytest.mark.parametrize("shape", [(64,), (16, 16), (16, 16, 16)], ids=["1-D", "2-D", "3-D"])
def test_color_noise_peaks_in_its_band_on_lines_grids_and_volumes(shape):
    """Of 1,000 masks. The response of green is highest at 0.222: ring 3 of eight up to 0.5."""
    layout = Sequence() if len(shape) == 1 else Grid(shape)
    count = 1000 if len(shape) < 3 else 100  # of 4,096 places each, as many numbers as the others in all
    found = {}
    for color in ("red", "blue", "green", "purple", "white"):
        hidden = draw(ColorNoiseMask(0.75, color), layout, count, math.prod(shape))
        assert (hidden.flatten(1).sum(1) == math.prod(shape) * 3 // 4).all()
        found[color] = rings(hidden)
    assert found["red"].argmax() == 0
    assert found["blue"].argmax() == 7
    assert found["green"].argmax() in (2, 3, 4)
    assert found["purple"].argmin() in (2, 3, 4)
    assert ((found["white"] - 1).abs() < 0.15).all()
    assert found["red"][0] > 10 * found["red"][7]
    assert found["blue"][7] > 1.9 * found["blue"][0]
    assert found["green"].max() > 2 * found["green"][[0, 7]].min()
    assert found["purple"].min() < 0.6 * found["purple"][[0, 7]].min()


def test_white_noise_is_the_random_mask_in_distribution():
    """Two of five places: ten pairs, each as often."""
    shares = []
    for sampler in (ColorNoiseMask(0.4, "white"), RandomMask(0.4)):
        hidden = draw(sampler, Sequence(), 20_000, 5)
        pairs, counts = hidden.long().unique(dim=0, return_counts=True)
        assert len(pairs) == 10
        shares.append(counts.double() / 20_000)
    assert all(((one - 0.1).abs() < 0.01).all() for one in shares)
    red = draw(ColorNoiseMask(0.4, "red"), Sequence(), 20_000, 5).long().unique(dim=0, return_counts=True)[1]
    assert (red.double() / 20_000 - 0.1).abs().max() > 0.05


def test_colors_change_by_the_epoch():
    sampler = ColorNoiseMask(0.5, {"green": 0, "blue": 200, "red": 250})
    layout, tokens = Grid((8, 8)), Tokens(torch.zeros(4, 64, 1), Grid((8, 8)))
    for epoch, color in ((0, "green"), (199, "green"), (200, "blue"), (249, "blue"), (250, "red"), (900, "red")):
        plain = draw(ColorNoiseMask(0.5, color), layout, 4).flatten(1)
        assert torch.equal(sampler(tokens, Progress(epoch=epoch), streams(tokens, 0)).hidden, plain), epoch
    for wrong in ({"green": 1}, {"green": 0, "blue": 0}, {}):
        with pytest.raises(ValueError, match="`color` must name epochs that rise from 0, but names"):
            ColorNoiseMask(0.5, wrong)
    with pytest.raises(ValueError, match="green, purple, white, but is 'pink'"):
        ColorNoiseMask(0.5, {"green": 0, "pink": 3})


def test_color_noise_does_not_wrap_around():
    hidden = draw(ColorNoiseMask(0.5, "red"), Sequence(), 4000, num_tokens=24).double()
    correlation = torch.corrcoef(hidden.T)
    assert correlation[0, 1] > 0.5
    assert correlation[0, 23].abs() < 0.1


def test_span_lengths_are_fixed():
    single = [runs(hidden.numpy()) for hidden in draw(SpanMask(0.1, length=10), Sequence(), 300, 100)]
    assert all(lengths == [10] for lengths in single)
    lengths = [run for hidden in draw(SpanMask(0.2, length=5), Sequence(), 300, 200) for run in runs(hidden.numpy())]
    # Shorter ones are cut by the count: at most one a sample, and none before spans overlap.
    short = sum(run < 5 for run in lengths)
    assert short <= 300
    assert np.mean(lengths) > 4.5


def test_spans_lie_evenly_away_from_the_ends():
    share = draw(SpanMask(0.15, length=3), Sequence(), 4000, 60).double().mean(0)
    assert (share[3:-3] - share[3:-3].mean()).abs().max() < 0.03
    assert share.min() > 0.02


def test_poisson_spans_have_their_shares():
    sampler = SpanMask(0.3, length=10, poisson=3.0)
    lengths = sampler._lengths(torch.linspace(0, 1, 100_001)[:-1], 10)
    chances = [math.exp(-3) * 3**count / math.factorial(count) for count in range(10)]
    expected = [chances[0] + chances[1], *chances[2:], 1 - sum(chances)]
    shares = torch.bincount(lengths, minlength=11)[1:] / len(lengths)
    torch.testing.assert_close(shares, torch.tensor(expected), atol=2e-5, rtol=0)


def test_geometric_spans_have_the_papers_mean():
    sampler = SpanMask(0.15, length=10, geometric=0.2)
    lengths = sampler._lengths(torch.rand(100_000, generator=seeds.generator("cpu", 0)), 10)
    weights = 0.2 * 0.8 ** torch.arange(10.0)
    weights /= weights.sum()
    assert lengths.min() == 1
    assert lengths.max() == 10
    assert torch.allclose(torch.bincount(lengths, minlength=11)[1:] / 100_000, weights, atol=0.005)
    assert lengths.double().mean() == pytest.approx(3.8, abs=0.05)  # SpanBERT, section 3.1


def test_spans_stay_within_a_ragged_sample():
    lengths = torch.tensor([50, 30, 12, 2])
    valid = torch.arange(50) < lengths[:, None]
    tokens = Tokens(torch.zeros(4, 50, 1), Sequence(), valid=valid)
    hidden = SpanMask(0.4, length=8)(tokens, None, streams(tokens, 0)).hidden
    assert hidden.sum(1).tolist() == [num_to_hide(int(n), 0.4) for n in lengths]
    assert max(runs(hidden[2].numpy())) == 5  # one span, no longer than what is to be hidden


def test_tubes_are_the_same_at_every_depth():
    hidden = draw(TubeMask(0.9), Grid((8, 14, 14)), batch=100)
    assert (hidden == hidden[:, :1]).all()
    assert (hidden[:, 0].sum((1, 2)) == num_to_hide(196, 0.9)).all()


def test_tubes_refuse_half_a_plane():
    valid = torch.arange(32) < torch.tensor([[32], [24]])
    with pytest.raises(ValueError, match="whole planes"):
        TubeMask(0.5)(Tokens(torch.zeros(2, 32, 1), Grid((2, 4, 4)), valid=valid))


def test_blocks_on_a_padded_grid_stay_in_one_piece_of_it():
    valid = torch.zeros(100, 8, 12, dtype=torch.bool)
    valid[:, 2:7, 3:] = True
    tokens = Tokens(torch.zeros(100, 96, 1), Grid((8, 12)), valid=valid.flatten(1))
    mask = BlockMask(0.4)(tokens, None, streams(tokens, 0))
    assert not (mask.hidden & ~mask.valid).any()
    assert min(min(pieces(hidden.numpy())) for hidden in mask.hidden.view(100, 8, 12)) > 1


def test_a_scheduled_ratio_follows_the_run():
    tokens = Tokens(torch.zeros(2, 100, 1), Sequence())
    sampler = SpanMask(Linear(start=0.1, end=0.5))
    counts = [sampler(tokens, Progress(step=step, total_steps=4)).num_hidden for step in range(5)]
    assert counts == [10, 20, 30, 40, 50]


def test_tokens_must_fill_their_grid():
    with pytest.raises(ValueError, match=r"must have 16 tokens, but has 15"):
        RandomMask(0.5)(Tokens(torch.zeros(2, 15, 1), Grid((4, 4))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomMask(unit=0), "`unit` must be at least 1, but is 0"),
        (lambda: BlockMask(min_block=0), "`min_block` must be at least 1 place, but is 0"),
        (lambda: BlockMask(aspect=(2.0, 1.0)), "`aspect` must be"),
        (lambda: MultiBlockMask(num_targets=0), "`num_targets` must be at least 1, but is 0"),
        (lambda: MultiBlockMask(target_scale=(0.2, 1.5)), "`target_scale` must be"),
        (lambda: MultiBlockMask(target_aspect=(0.0, 1.5)), "`target_aspect` must be"),
        (lambda: MultiBlockMask(context_scale=(0.9, 0.5)), "`context_scale` must be"),
        (lambda: MultiBlockMask(min_keep=0), "`min_keep` must be at least 1 place, but is 0"),
        (lambda: GridMask(stride=1), "`stride` must be at least 2, but is 1"),
        (lambda: ColorNoiseMask(color="pink"), "`color` must be one of red, blue, green, purple, white, but"),
        (lambda: IrregularMask(width=(0.0, 0.2)), r"`width` must be \(least, greatest\), both in \(0, 1\]"),
        (lambda: IrregularMask(turn=200.0), r"`turn` must be in \[0, 180\], but is 200"),
        (lambda: SpanMask(length=0), "`length` must be at least 1 place, but is 0"),
        (lambda: SpanMask(poisson=0.0), "`poisson` must be above 0 and without `geometric`, but is 0.0"),
        (lambda: SpanMask(geometric=1.0), r"`geometric` must be in \(0, 1\), but is 1.0"),
    ],
)
def test_arguments_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


class TestIrregularMask(MaskContract):
    layouts = [Grid((14, 14)), Grid((6, 9))]
    refused = [Set(), Sequence(), Grid((4, 4, 4))]
    ragged = (Grid,)

    def make(self, **options):
        return IrregularMask(**options)


def test_strokes_are_joined_and_as_wide_as_their_brush():
    """A single stroke, a straight line: what it hides touches, and lies within half its width of a line."""
    tokens = Tokens(torch.zeros(200, 24 * 24, 1), Grid((24, 24)))
    mask = IrregularMask(ratio=0.02, width=(0.1, 0.1), length=1.0, turn=0.0, num_strokes=1)
    hidden = mask(tokens, draws=streams(tokens)).hidden.view(-1, 24, 24)
    assert set(hidden.sum((1, 2)).tolist()) == {12}
    spans = []
    for one in hidden:
        at = one.nonzero().float()
        at = at - at.mean(0)
        across = at @ torch.linalg.svd(at, full_matrices=False)[2][1]
        spans.append(float(across.max() - across.min()))
    spans = torch.tensor(spans)
    assert float((spans < 3).float().mean()) > 0.75  # but where a stroke has left the grid
    near = torch.nn.functional.max_pool2d(hidden[:, None].float(), 3, 1, 1)[:, 0] > 0
    again = torch.stack([torch.roll(hidden, shift, (1, 2)) for shift in ((0, 1), (1, 0), (0, -1), (-1, 0))]).any(0)
    assert float((hidden & again & near).sum() / hidden.sum()) > 0.9


def test_wider_brushes_hide_with_less_border():
    tokens = Tokens(torch.zeros(300, 24 * 24, 1), Grid((24, 24)))

    def border(width):
        mask = IrregularMask(ratio=0.3, width=(width, width))
        hidden = mask(tokens, draws=streams(tokens)).hidden.view(-1, 24, 24).long()
        return float((hidden.diff(dim=1).abs().sum() + hidden.diff(dim=2).abs().sum()) / hidden.sum())

    alone = RandomMask(0.3)(tokens, draws=streams(tokens)).hidden.view(-1, 24, 24).long()
    scattered = float((alone.diff(dim=1).abs().sum() + alone.diff(dim=2).abs().sum()) / alone.sum())
    assert border(0.3) < 0.6 * border(0.05) < 0.6 * scattered


def test_shares_of_strokes_drawn_by_sample_lie_in_their_range():
    tokens = Tokens(torch.zeros(500, 196, 1), Grid((14, 14)))
    shares = IrregularMask(ratio=Uniform(0.1, 0.6))(tokens, draws=streams(tokens)).hidden.float().mean(1)
    assert 0.1 <= float(shares.min()) < 0.12 and 0.58 < float(shares.max()) <= 0.61
    assert abs(float(shares.mean()) - 0.3525) < 0.02


class TestBoxMask(MaskContract):
    layouts = [Sequence(), Grid((14, 14)), Grid((4, 6, 8))]
    refused = [Set()]
    ragged = (Sequence, Grid)

    def make(self, **options):
        return BoxMask(**{"ratio": 0.6, **options})


def test_boxes_have_bounded_sides():
    """Two places of one box are near each other; only after boxes of a single place, 1 in 16, are they not."""
    tokens = Tokens(torch.zeros(1000, 196, 1), Grid((14, 14)))
    hidden = BoxMask(ratio=0.01, max_side=0.3)(tokens, draws=streams(tokens)).hidden
    pairs = hidden.nonzero()[:, 1].view(-1, 2)  # [B, 2]
    apart = torch.maximum((pairs // 14).diff(dim=1).abs(), (pairs % 14).diff(dim=1).abs())
    near = float((apart <= 3).float().mean())
    assert 0.92 < near < 0.97
    assert float((apart == 3).float().mean()) > 0.04


def test_box_shares_drawn_by_sample_lie_in_their_range():
    tokens = Tokens(torch.zeros(1000, 196, 1), Grid((14, 14)))
    shares = BoxMask(ratio=Uniform(0.5, 0.75))(tokens, draws=streams(tokens)).hidden.float().mean(1)
    assert 0.49 < float(shares.min()) < 0.52 and 0.73 < float(shares.max()) < 0.76
    assert abs(float(shares.mean()) - 0.6275) < 0.01  # counts are rounded up by half a place


def test_three_masks_hide_places_equally_often():
    tokens = Tokens(torch.zeros(20, 12, 1), Sequence())
    mask = DisjointMask(ratio=0.5, num_views=3)(tokens, draws=streams(tokens))
    times = sum(part.hidden.long() for part in mask.parts.values())
    assert int(times.max()) == 2 and int(times.min()) == 1
    padded = Tokens(torch.zeros(2, 12, 1), Sequence(), valid=torch.arange(12) < torch.tensor([[12], [8]]))
    mask = DisjointMask(ratio=0.5)(padded, draws=streams(padded))
    assert [part.hidden.sum(1).tolist() for part in mask.parts.values()] == [[6, 4], [6, 4]]
    assert not any((part.hidden & ~padded.valid).any() for part in mask.parts.values())
    with pytest.raises(ValueError, match="packed; pad them"):
        DisjointMask()(Tokens(torch.zeros(12, 1), Sequence(), offsets=torch.tensor([0, 5, 12])))


def test_every_place_is_hidden_and_none_of_the_padding():
    tokens = Tokens(torch.zeros(2, 6, 1), Sequence(), valid=torch.arange(6) < torch.tensor([[6], [4]]))
    assert torch.equal(EveryMask()(tokens).hidden, tokens.valid)
    whole = EveryMask()(Tokens(torch.zeros(2, 6, 1), Set()))
    assert whole.num_hidden == 6 and whole.asked.index.tolist() == [list(range(6))] * 2


class TestApartMask(JointMaskContract):
    def make(self, **options):
        return ApartMask(**options)


class TestPartitionMask(JointMaskContract):
    def make(self, **options):
        return PartitionMask(**options)


def test_each_place_is_shown_of_one_part():
    tokens = Tokens(torch.zeros(50, 10, 1), Sequence())
    mask = PartitionMask()(Tokens.join({"a": tokens, "b": tokens, "c": tokens}), draws=streams(tokens))
    shown = torch.stack([~part.hidden for part in mask.parts.values()])  # [3, B, N]
    assert torch.equal(shown.sum(0), torch.ones(50, 10, dtype=torch.long))
    assert shown.sum(2).T.tolist() == [[4, 3, 3]] * 50
    assert [part.num_hidden for part in mask.parts.values()] == [6, 7, 7]
    shares = shown[0].float().mean(0)  # each place is as likely to be the first part's
    assert float(shares.min()) > 0.2 and float(shares.max()) < 0.62
    with pytest.raises(ValueError, match="at least 2 parts, but they have 0"):
        PartitionMask()(tokens)


FIXED = "all samples of one length have the same prefix"


class TestPrefixMask(MaskContract):
    overrides = {
        "test_the_same_seed_gives_the_same_mask": FIXED,
        "test_draws_from_the_samples_own_streams_alone": FIXED,
        "test_samples_of_a_batch_differ": FIXED,
    }
    layouts = [Sequence(), Grid((4, 4)), Grid((2, 4, 4))]
    refused = [Set()]
    ragged = ALL_KINDS

    def make(self, **options):
        return PrefixMask(**({"ratio": 0.6} | options))

    def test_the_same_seed_gives_the_same_mask(self):
        tokens = Tokens(torch.zeros(16, 24, 1), Sequence())
        first, again, other = (self._draw(PrefixMask(), tokens, seed) for seed in (0, 0, 1))
        assert torch.equal(first.hidden, again.hidden) and not torch.equal(first.hidden, other.hidden)

    def test_draws_from_the_samples_own_streams_alone(self):
        tokens = Tokens(torch.zeros(16, 24, 1), Sequence())
        before = torch.get_rng_state()
        whole, others = self._draw(PrefixMask(), tokens), streams(tokens)
        others.keys[:4] = streams(tokens, 1).keys[:4]
        again = PrefixMask()(tokens, Progress(), others)
        assert torch.equal(again.hidden[4:], whole.hidden[4:]) and not torch.equal(again.hidden, whole.hidden)
        assert torch.equal(before, torch.get_rng_state())

    def test_samples_of_a_batch_differ(self):
        """Every length of what is hidden but none and all, about equally often; what would be all is all but one."""
        counts = self._draw(PrefixMask(), Tokens(torch.zeros(4000, 11, 1), Sequence())).hidden.sum(1).bincount()
        assert len(counts) == 11 and not counts[0]
        assert int(counts[1:-1].min()) > 300 and int(counts[1:-1].max()) < 450 and 620 < int(counts[-1]) < 830


def test_what_comes_first_is_shown():
    valid = torch.arange(6) < torch.tensor([[6], [4]])
    mask = PrefixMask(0.5)(Tokens(torch.zeros(2, 6, 1), Sequence(), valid=valid))
    assert mask.hidden.int().tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 0, 0]]


def test_several_masks_are_those_of_their_names():
    tokens = Tokens(torch.zeros(3, 8, 1), Sequence())
    mask = SeveralMasks({"a": RandomMask(0.25), "b": PrefixMask(0.5)})(tokens, draws=streams(tokens))
    assert list(mask.parts) == ["a", "b"]
    assert torch.equal(mask.part("a").hidden, RandomMask(0.25)(tokens, draws=streams(tokens).named("a")).hidden)
    assert mask.part("b").hidden.sum(1).tolist() == [4] * 3
    with pytest.raises(ValueError, match="`masks` must name at least one view"):
        SeveralMasks({})
    with pytest.raises(ValueError, match="tokens of one part, but these have x; nearest: by-part"):
        SeveralMasks({"a": RandomMask()})(Tokens.join({"x": tokens}))
    with pytest.raises(ValueError, match="`masks` must make one mask each, but DisjointMask makes several"):
        SeveralMasks({"a": DisjointMask()})(tokens)
