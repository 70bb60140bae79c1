"""TERA's alterations: chances by chi-square tests, and by hand what becomes of a frame."""

import pytest
import torch
from scipy.stats import chisquare, kstest

from unmask import Draws, Mask, Sequence, Tokens
from unmask.masks import SpanMask
from unmask.testing import streams
from unmask_audio.alteration import Alteration

ONLY_TIME = {"frequency_ratio": 0.0, "noise_chance": 0.0}
LIKELY = 1e-3
"""Least p-value; seeds are fixed, so a test passes or fails for good."""


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(mask, seed=0):
    return Draws.of(seed, torch.arange(len(mask.hidden)))


def spans(batch, num_frames, ratio=0.15, valid=None):
    tokens = Tokens(torch.zeros(batch, num_frames, 1), Sequence(), valid=valid)
    return SpanMask(ratio, length=7)(tokens, None, streams(tokens))


def test_hidden_frames_are_zero_replaced_or_kept_by_their_chances():
    """Frames are numbered from 1, so what became of a sample's hidden frames can be read off them."""
    values = torch.arange(1.0, 41)[None, :, None].expand(3000, -1, 4)
    mask = spans(3000, 40)
    altered = Alteration(**ONLY_TIME).altered(values, mask, draws(mask, 1))
    assert torch.equal(altered[~mask.hidden], values[~mask.hidden])
    hidden, before = altered[mask.hidden].view(3000, -1, 4), values[mask.hidden].view(3000, -1, 4)
    zero, kept = (hidden == 0).flatten(1), (hidden == before).flatten(1)
    counts = [zero.all(1).sum(), 0, kept.all(1).sum()]
    counts[1] = 3000 - counts[0] - counts[2]
    assert zero.any(1).sum() == counts[0]  # all of a sample's hidden frames, or none
    assert kept.any(1).sum() == counts[2]
    assert chisquare([int(count) for count in counts], [2400, 300, 300]).pvalue > LIKELY


def test_stand_ins_are_neighbouring_visible_frames_from_an_even_start():
    values = torch.arange(40.0)[None, :, None].expand(4000, -1, 1)
    mask = spans(4000, 40)
    altered = Alteration(zero=0.0, random=1.0, keep=0.0, **ONLY_TIME).altered(values, mask, draws(mask, 1))
    starts = []
    for row, hidden in zip(altered[..., 0].long(), mask.hidden, strict=True):
        visible = (~hidden).nonzero().flatten()
        turns = torch.searchsorted(visible, row[hidden])
        assert torch.equal(visible[turns], row[hidden])  # each is a visible frame
        assert torch.equal(turns, (turns[0] + torch.arange(len(turns))) % len(visible))  # one after the other
        starts.append(int(turns[0]))
    assert chisquare(torch.bincount(torch.tensor(starts), minlength=34).numpy()).pvalue > LIKELY


def test_bands_have_an_even_width_at_an_even_place():
    """Of 20 features at most 4 (20%): widths 0 to 4 alike, starts alike given the width, one band in all frames."""
    values = torch.ones(20_000, 3, 20)
    mask = Mask(torch.zeros(20_000, 3, dtype=torch.bool))
    zero = Alteration(noise_chance=0.0).altered(values, mask, draws(mask, 0)) == 0
    assert (zero == zero[:, :1]).all()
    widths, starts = zero[:, 0].sum(1), zero[:, 0].byte().argmax(1)
    assert chisquare(torch.bincount(widths, minlength=5).numpy()).pvalue > LIKELY
    for width in range(1, 5):
        chosen = widths == width
        assert chisquare(torch.bincount(starts[chosen], minlength=21 - width).numpy()).pvalue > LIKELY
        edges = torch.nn.functional.pad(zero[chosen, 0].int(), (1, 1)).diff().abs().sum(1)
        assert (edges == 2).all()  # without gaps


def test_a_band_is_of_each_frame_of_a_token():
    values = torch.ones(500, 2, 30)  # three frames of ten features
    mask = Mask(torch.zeros(500, 2, dtype=torch.bool))
    zero = (Alteration(noise_chance=0.0, num_features=10).altered(values, mask, draws(mask, 0)) == 0).unflatten(
        2, (3, 10)
    )
    assert (zero == zero[:, :1, :1]).all()
    assert zero[:, 0, 0].sum(1).max() == 2
    with pytest.raises(ValueError, match="`num_features` must divide 30, the width of a token, but is 7"):
        Alteration(num_features=7).altered(values, mask, draws(mask))


def test_noise_is_added_to_whole_samples_by_its_chance():
    values = torch.zeros(4000, 5, 6)
    mask = Mask(torch.zeros(4000, 5, dtype=torch.bool))
    noise = Alteration(frequency_ratio=0.0).altered(values, mask, draws(mask, 0))
    noisy = (noise != 0).flatten(1)
    assert torch.equal(noisy.any(1), noisy.all(1))
    assert chisquare([int(noisy.any(1).sum()), int((~noisy.any(1)).sum())], [600, 3400]).pvalue > LIKELY
    assert kstest(noise[noisy.any(1)].flatten().numpy() / 0.2, "norm").pvalue > LIKELY


def test_the_three_are_independent_of_each_other():
    """In a table of time by noise, and of noise by band, counts are as chance has them."""
    values = torch.ones(20_000, 10, 20)
    mask = Mask(torch.arange(10).expand(20_000, -1) < 2, num_hidden=2)
    altered = Alteration().altered(values, mask, draws(mask, 0))
    quiet = (altered[:, 5] == 1).any(1)  # a visible frame that has its own value somewhere
    changed = ((altered[:, 0] - altered[:, 5]).abs() > 0).any(1)  # hidden frames are unlike visible ones...
    zero = changed[quiet].float().mean()
    assert zero == pytest.approx(0.8, abs=0.015)  # ... when they are zero: 4 standard errors
    assert quiet.float().mean() == pytest.approx(0.85, abs=0.011)
    band = (altered[:, 5] == 0).any(1)
    assert band[quiet].float().mean() == pytest.approx(0.8, abs=0.013)


def test_hidden_values_are_shown_only_where_all_are_kept():
    """Bit for bit, and where they are no numbers: with `keep` 0, hidden values change nothing."""
    alteration = Alteration(zero=0.5, random=0.5, keep=0.0)
    valid = torch.arange(30) < torch.tensor([30, 30, 30, 12])[:, None]
    mask = spans(4, 30, valid=valid)
    values = torch.randn(4, 30, 8, generator=rng())
    before = alteration.altered(values, mask, draws(mask, 3))
    for other in (torch.randn(4, 30, 8, generator=rng(9)), torch.full((4, 30, 8), float("nan"))):
        changed = other.where(mask.hidden[..., None], values)
        assert torch.equal(alteration.altered(changed, mask, draws(mask, 3)), before)
    assert not torch.equal(alteration.altered(values + (~mask.hidden[..., None]), mask, draws(mask, 3)), before)
    padding = torch.full_like(values, 7.0).where(~valid[..., None], values)
    assert torch.equal(alteration.altered(padding, mask, draws(mask, 3))[valid], before[valid])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zero": 1.2}, r"`zero` must be in \[0, 1\], but is 1.2"),
        ({"zero": 0.5}, "`zero`, `random` and `keep` must sum to 1, but sum to 0.7"),
        ({"frequency_ratio": 1.0}, r"`frequency_ratio` must be in \[0, 1\), but is 1.0"),
        ({"noise_chance": -0.1}, r"`noise_chance` must be in \[0, 1\], but is -0.1"),
        ({"noise_std": -1.0}, "`noise_std` must be at least 0, but is -1.0"),
        ({"num_features": 0}, "`num_features` must be at least 1, but is 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Alteration(**options)
