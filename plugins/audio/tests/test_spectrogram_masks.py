"""Masks of spectrograms: the contract, and by hand or by statistics what each of them promises."""

import math

import pytest
import torch
from scipy.stats import chisquare

from unmask import Grid, Progress, Sequence, Set, Tokens, num_to_hide
from unmask.masks import MultiBlockMask, RandomMask
from unmask.testing import MaskContract, streams
from unmask_audio.masks import CurriculumMask, EnergyMask, TimeFrequencyBlockMask, TimeFrequencyMask
from unmask_audio.schedules import SquareRoot


class TestTimeFrequency(MaskContract):
    layouts = [Grid((12, 8)), Grid((5, 3))]
    refused = [Set(), Sequence(), Grid((2, 4, 4))]
    ragged = (Set, Sequence, Grid)

    def make(self, **options):
        return TimeFrequencyMask(**{"time_chunk": 2, **options})


class TestTimeOnly(TestTimeFrequency):
    def make(self, **options):
        return TimeFrequencyMask(**{"ratio": 0.5, "axes": "time", **options})


class TestTimeFrequencyBlock(MaskContract):
    together = True
    layouts = [Grid((16, 8)), Grid((5, 4))]
    refused = [Set(), Sequence(), Grid((2, 4, 4))]
    ragged = (Grid,)

    def make(self, **options):
        return TimeFrequencyBlockMask(**options)

    def expected(self, sampler, num_tokens, layout, progress):
        return None


class TestCurriculum(TestTimeFrequencyBlock):
    def make(self, **options):
        return CurriculumMask(share=0.5, **options)


class TestEnergy(MaskContract):
    layouts = [Sequence(), Grid((6, 8))]
    refused = [Set(), Grid((2, 4, 4))]
    ragged = (Set, Sequence, Grid)

    def make(self, **options):
        return EnergyMask(**options)


def draw(mask, tokens, seed=0, progress=None):
    return mask(tokens, progress, streams(tokens, seed))


def grid(batch, *shape):
    return Tokens(torch.zeros(batch, math.prod(shape), 4), Grid(shape))


def padded_grid(rows, columns, num_rows):
    """Clips that have so many rows of a grid."""
    valid = torch.arange(rows * columns) < columns * torch.tensor(num_rows)[:, None]
    return Tokens(torch.zeros(*valid.shape, 4), Grid((rows, columns)), valid=valid)


def on_grid(hidden, *shape):
    return hidden.unflatten(1, shape)


def test_whole_times_and_frequencies_are_hidden():
    """Of 10 by 10 patches 64 are hidden by 4 times and 4 frequencies: 100 - 6 * 6."""
    hidden = on_grid(draw(TimeFrequencyMask(0.64), grid(300, 10, 10)).hidden, 10, 10)
    times, frequencies = hidden.all(2), hidden.all(1)
    assert set(times.sum(1).tolist()) == set(frequencies.sum(1).tolist()) == {4}
    assert torch.equal(hidden, times[:, :, None] | frequencies[:, None])
    # Each line is as likely: 300 draws of 4 in 10.
    for lines in (times, frequencies):
        assert chisquare(lines.sum(0).numpy()).pvalue > 1e-3


@pytest.mark.parametrize(("axes", "axis"), [("time", 2), ("frequency", 1)])
def test_one_axis_alone(axes, axis):
    hidden = on_grid(draw(TimeFrequencyMask(0.5, axes), grid(50, 8, 4)).hidden, 8, 4)
    whole = hidden.all(axis)
    assert torch.equal(whole.sum(1), torch.full((50,), 4 if axes == "time" else 2))
    assert torch.equal(hidden, whole.unsqueeze(axis).expand_as(hidden))


def test_the_line_hidden_last_is_cut_short():
    """7 of 4 by 4 patches in time: one time whole, three patches of another from its beginning."""
    hidden = on_grid(draw(TimeFrequencyMask(7 / 16, "time"), grid(50, 4, 4)).hidden, 4, 4)
    lengths = hidden.sum(2).sort(1).values
    assert torch.equal(lengths, torch.tensor([0, 0, 3, 4]).expand(50, -1))
    assert not hidden[..., 3][hidden.sum(2) == 3].any()


def test_chunks_lie_together():
    """12 of 48 times in chunks of 4: 3 chunks, of which the phase may cut the outermost and the count the last."""
    hidden = draw(TimeFrequencyMask(0.25, "time", time_chunk=4), grid(200, 48, 1)).hidden
    assert set(hidden.sum(1).tolist()) == {12}
    phases = set()
    for row in hidden:
        edges = (torch.nn.functional.pad(row.int(), (1, 1)).diff() != 0).nonzero().flatten().view(-1, 2)
        assert len(edges) <= 4
        inner = [int(start) % 4 for start in edges[:, 0] if start]
        assert len(set(inner)) <= 1  # all chunks of a sample have one phase
        phases |= set(inner)
    assert phases == {0, 1, 2, 3}


def test_short_clips_hide_their_own_times_alone():
    valid = (torch.arange(12)[:, None] < torch.tensor([12, 4])[:, None, None]).expand(2, 12, 4).flatten(1)
    tokens = Tokens(torch.zeros(2, 48, 4), Grid((12, 4)), valid=valid)
    hidden = draw(TimeFrequencyMask(0.5, "time"), tokens).hidden
    assert hidden.sum(1).tolist() == [24, 8]
    assert on_grid(hidden, 12, 4)[1, :4].all(1).sum() == 2
    ragged = valid.clone()
    ragged[1, 15] = False
    with pytest.raises(ValueError, match="whole times of the grid"):
        draw(TimeFrequencyMask(), Tokens(torch.zeros(2, 48, 4), Grid((12, 4)), valid=ragged))


def test_a_context_shares_no_time_and_no_frequency_with_a_target():
    mask = draw(TimeFrequencyBlockMask(), grid(200, 64, 8))
    visible = on_grid(~mask.hidden, 64, 8)
    targets = mask.predict.unflatten(2, (64, 8))  # [B, G, R, C]
    assert targets.shape[1] == 3
    times, frequencies = targets.any(1).any(2), targets.any(1).any(1)
    assert not (visible & (times[:, :, None] | frequencies[:, None])).any()
    # Blocks of 5 to 7.5% in the proportion of the grid: 14 to 18 of 64 times, 2 of 8 frequencies, without gaps.
    height, width = targets.any(3).sum(2), targets.any(2).sum(2)
    assert 14 <= height.min() == height.max() <= 18
    assert (width == 2).all()
    assert torch.equal(targets.sum((2, 3)), height * width)
    assert len(set((~mask.hidden).sum(1).tolist())) == 1
    assert (~mask.hidden).sum(1)[0] >= 10


def test_small_grids_have_a_context_however_blocks_fall():
    for seed in range(40):
        mask = draw(TimeFrequencyBlockMask(), grid(8, 2, 2), seed)
        assert (~mask.hidden).sum(1).tolist() == [1] * 8  # out of the lines of one patch there is one left
        assert (mask.predict.sum(2) == 1).all()
    with pytest.raises(ValueError, match="at least 2 patches a side"):
        draw(TimeFrequencyBlockMask(), grid(2, 8, 1))
    with pytest.raises(ValueError, match="at least 2 patches a side, but one has 1 x 8"):
        draw(TimeFrequencyBlockMask(), padded_grid(4, 8, (4, 1)))


def test_a_short_clips_blocks_lie_within_it():
    mask = draw(TimeFrequencyBlockMask(), padded_grid(32, 8, (32, 8)))
    targets, visible = mask.predict.unflatten(2, (32, 8)), on_grid(~mask.hidden & mask.valid, 32, 8)
    num_times = targets.any(3).sum(2)  # about a quarter of each clip's own, 22% to 27%
    assert set(num_times[0].tolist()) <= {7, 8, 9}
    assert set(num_times[1].tolist()) == {2}
    times, frequencies = targets.any(1).any(2), targets.any(1).any(1)
    assert not (visible & (times[:, :, None] | frequencies[:, None])).any()
    assert visible.flatten(1).any(1).all()


def test_the_square_root_schedule_by_hand():
    """At a quarter of the way sqrt(0.25 * (1 - 0.0001) + 0.0001)."""
    share = SquareRoot(0.01)
    assert share(Progress()) == pytest.approx(0.01)
    assert share(Progress(25, 0, 100)) == pytest.approx(math.sqrt(0.25 * 0.9999 + 0.0001))
    assert share(Progress(100, 0, 100)) == share(Progress(300, 0, 100)) == 1
    assert SquareRoot(0.0, over=50)(Progress(2, 0, 100)) == pytest.approx(0.2)


def test_a_curriculum_passes_from_one_mask_to_the_other():
    """Groups tell which mask drew: 4 of I-JEPA's, 3 of the time-frequency blocks."""
    mask, tokens = CurriculumMask(), grid(2, 16, 8)

    def share(step):
        groups = [draw(mask, tokens, seed, Progress(step, 0, 400)).predict.shape[1] for seed in range(400)]
        assert set(groups) <= {3, 4}
        return groups.count(3) / 400

    assert share(0) < 0.04
    assert share(100) == pytest.approx(0.5, abs=0.1)  # 4 standard deviations
    assert share(400) == 1
    assert draw(CurriculumMask(RandomMask(0.5), RandomMask(0.25), share=1.0), tokens).num_hidden == 32
    with pytest.raises(ValueError, match=r"`share` must be in \[0, 1\], but is 1.5"):
        CurriculumMask(share=1.5)


def test_sounding_places_are_hidden_as_often_as_told():
    """One hidden of two sounding and two silent: each sounding one with a chance of 3 / 8, each silent one 1 / 8."""
    level = torch.tensor([-8.0, 2.0, -8.0, 2.0])
    tokens = Tokens(level[None, :, None].expand(4000, -1, 5), Sequence())
    often = draw(EnergyMask(0.25, preference=3.0), tokens).hidden.sum(0)
    assert chisquare(often.numpy(), [500, 1500, 500, 1500]).pvalue > 1e-3


def test_the_level_of_a_wave_is_its_power():
    """Windows of mean 0, two of them loud: as in a spectrum."""
    wave = torch.tensor([1.0, -1.0, 1.0, -1.0]) * torch.tensor([0.01, 0.5, 0.01, 0.5])[:, None]
    often = draw(EnergyMask(0.25, 3.0, "wave"), Tokens(wave.expand(4000, -1, -1), Sequence())).hidden.sum(0)
    assert chisquare(often.numpy(), [500, 1500, 500, 1500]).pvalue > 1e-3


def test_a_patch_sounds_with_its_time():
    """On a grid all frequencies of a time count together, and padding does not."""
    level = torch.full((1, 6, 4, 3), -6.0)
    level[:, 2:4, 0] = 9.0  # one low frequency sounds at two times
    level[:, 4:] = -99.0
    valid = (torch.arange(6) < 4)[:, None].expand(6, 4).flatten()
    tokens = Tokens(level.flatten(1, 2).expand(3000, -1, -1), Grid((6, 4)), valid=valid.expand(3000, -1))
    hidden = on_grid(draw(EnergyMask(1 / 16, preference=7.0), tokens).hidden, 6, 4)
    assert not hidden[:, 4:].any()
    assert chisquare(hidden[:, :4].sum(0).flatten().numpy(), [3000 / 64] * 8 + [3000 * 7 / 64] * 8).pvalue > 1e-3


def test_without_a_preference_or_without_a_sound_all_are_alike():
    silent = Tokens(torch.full((2000, 8, 2), -4.0), Sequence())
    clear = Tokens(torch.arange(8.0)[None, :, None].expand(2000, -1, 2), Sequence())
    for mask, tokens in ((EnergyMask(0.5, 9.0), silent), (EnergyMask(0.5, 1.0), clear)):
        assert chisquare(draw(mask, tokens).hidden.sum(0).numpy()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimeFrequencyMask(axes="pitch"), "`axes` must be one of both, time, frequency, but is 'pitch'"),
        (lambda: TimeFrequencyMask(time_chunk=0), "`time_chunk` must be at least 1 patch, but is 0"),
        (lambda: TimeFrequencyBlockMask(num_targets=0), "`num_targets` must be at least 1, but is 0"),
        (lambda: TimeFrequencyBlockMask(target_scale=(0.2, 0.1)), "`target_scale` must be"),
        (lambda: TimeFrequencyBlockMask(context_scale=(0.5, 1.2)), "`context_scale` must be"),
        (lambda: TimeFrequencyBlockMask(min_keep=0), "`min_keep` must be at least 1 place, but is 0"),
        (lambda: EnergyMask(preference=0.5), "`preference` must be at least 1, but is 0.5"),
        (lambda: SquareRoot(1.2), r"`start` must be in \[0, 1\], but is 1.2"),
        (lambda: SquareRoot(over=0), "`over` must be at least 1 step, but is 0"),
        (lambda: draw(EnergyMask(), Tokens(torch.zeros(2, 8, dtype=torch.long), Sequence())), "how loud tokens are"),
        (lambda: EnergyMask(tokens="ids"), "`tokens` must be 'spectrum' or 'wave', but is 'ids'"),
    ],
)
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_defaults_are_shared_by_no_two_masks():
    """Signature defaults are one object: the model copies its mask, and nothing here writes to one."""
    assert isinstance(CurriculumMask().first, MultiBlockMask)
    assert num_to_hide(512, TimeFrequencyMask().ratio) == 410
