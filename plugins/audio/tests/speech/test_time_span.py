"""Time-span mask: the contract of masks, and spans as transformers draws them for wav2vec 2.0."""

import numpy as np
import pytest
import torch
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from unmask import Grid, Sequence, Set, Tokens
from unmask.testing import MaskContract, streams
from unmask_audio.masks.time_span import TimeSpanMask


class TestTimeSpanMask(MaskContract):
    together = True
    layouts = [Sequence()]
    refused = [Set(), Grid((6, 8))]

    def make(self, **options):
        return TimeSpanMask(**options)

    def expected(self, sampler, num_tokens, layout, progress):
        return None  # drawn


def draw(sampler, lengths, seed=0):
    lengths = torch.tensor(lengths)
    valid = torch.arange(int(lengths.max())) < lengths[:, None]
    tokens = Tokens(torch.zeros(*valid.shape, 1), Sequence(), valid=None if bool(valid.all()) else valid)
    return sampler(tokens, None, streams(tokens, seed))


def runs(row):
    """Lengths of runs of True."""
    edges = np.diff(np.concatenate([[0], row.astype(int), [0]]))
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)


@pytest.mark.parametrize(("start_ratio", "share"), [(0.065, 0.49), (0.08, 0.57)])
def test_spans_are_those_of_transformers(start_ratio, share):
    """The same share of places hidden, at each place and in all, and runs of the same number and length."""
    num_clips, num_places = 4000, 150
    lengths = [num_places] * num_clips + [num_places + 1]  # ragged: every clip keeps what it hides
    ours = draw(TimeSpanMask(start_ratio), lengths).hidden[:-1, :num_places].numpy()
    np.random.seed(0)
    drawn = [_compute_mask_indices((1, num_places), 10 * start_ratio, 10, min_masks=2) for _ in range(num_clips)]
    theirs = np.concatenate(drawn)
    for measure in (np.mean, lambda row: len(runs(row)), lambda row: runs(row).max()):
        mine, other = (np.array([measure(row) for row in rows], float) for rows in (ours, theirs))
        error = np.sqrt((mine.var() + other.var()) / num_clips)
        assert abs(mine.mean() - other.mean()) < 4 * error
        assert mine.std() == pytest.approx(other.std(), rel=0.1)
    error = np.sqrt(2 * share * (1 - share) / num_clips)
    assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 4.5 * error
    assert ours.mean() == pytest.approx(share, abs=0.02)
    assert min(runs(row).min() for row in ours) == 10


def test_clips_of_one_length_hide_as_many_places():
    mask = draw(TimeSpanMask(), [200] * 64)
    assert mask.num_hidden == int(mask.hidden.sum(1).min()) == int(mask.hidden.sum(1).max())
    # Those that would have hidden more show some again: shorter runs are rare, and whole runs stay.
    lengths = np.concatenate([runs(row) for row in mask.hidden.numpy()])
    assert (lengths >= 10).sum() > 0


@pytest.mark.parametrize("lengths", [[2, 3, 4, 9, 10, 11, 12, 19, 20, 21, 30], [2, 2], [3, 3, 3], [11] * 5, [20] * 50])
def test_short_clips_hide_something_and_not_all(lengths):
    for seed in range(50):
        mask = draw(TimeSpanMask(0.4, min_spans=3), lengths, seed)
        hidden = mask.hidden.sum(1)
        assert (hidden > 0).all()
        assert (hidden < torch.tensor(lengths)).all()
        assert not any(row[length:].any() for row, length in zip(mask.hidden, lengths, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_ratio": 1}, r"`start_ratio` must be in \(0, 1\), but is 1"),
        ({"length": 0}, "`length` must be at least 1, but is 0"),
        ({"min_spans": 0}, "`min_spans` must be at least 1, but is 0"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TimeSpanMask(**options)
