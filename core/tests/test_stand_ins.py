"""What hidden places are shown as: means, noise, other samples, frequencies, bins, zeros."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unmask import FILLED, Draws, Grid, Mask, Sequence, Tokens, Uniform
from unmask.corruptions import FrequencyFilter, NoisyValues, RandomQuantisation, StandIns
from unmask.masks import EveryMask
from unmask.nn import assembled, cut
from unmask.testing import disturbed, streams


def some(num_samples=3, num_tokens=12, width=6):
    values = torch.randn(num_samples, num_tokens, width, generator=torch.Generator().manual_seed(0))
    return Tokens(values, Sequence())


def hidden_of(tokens, every=3):
    shape = tokens.values.shape[:2]
    return (torch.arange(shape[1]) % every != 1).expand(shape)


def masked(tokens, every=3, seed=0):
    return Mask(hidden_of(tokens, every), draws=streams(tokens, seed))


KINDS = {
    "zeros": StandIns(zeros=1),
    "mean": StandIns(mean=1, channels=3),
    "noise": StandIns(noise=1),
    "other": StandIns(other=1),
    "all": StandIns(token=0.1, random=0.1, zeros=0.2, mean=0.2, noise=0.2, other=0.2, channels=2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_hidden_value_is_shown_and_visible_ones_are(kind):
    tokens = some()
    mask = masked(tokens)
    first = KINDS[kind](tokens, mask)
    again = KINDS[kind](disturbed(tokens, mask.hidden), mask)
    filled = mask.hidden & (first.mask.show == FILLED)
    assert filled.any()
    assert torch.equal(first.mask.show, again.mask.show)
    assert torch.equal(first.tokens.values[filled], again.tokens.values[filled])
    assert torch.equal(first.tokens.values[~mask.hidden], tokens.values[~mask.hidden])
    if kind != "zeros" and kind != "noise":  # the test can fail: what is visible decides
        other = KINDS[kind](disturbed(tokens, ~mask.hidden), mask)
        assert not torch.equal(first.tokens.values[filled], other.tokens.values[filled])


def test_the_mean_is_that_of_each_channel_over_visible_values():
    tokens = some()
    mask = masked(tokens)
    shown = StandIns(mean=1, channels=3)(tokens, mask).tokens.values
    expected = tokens.values[1, 1::3].reshape(-1, 3).mean(0).repeat(2)
    torch.testing.assert_close(shown[1][mask.hidden[1]], expected.expand(8, 6))


def test_packed_samples_have_the_means_of_padded_ones():
    tokens = some()
    mask = masked(tokens)
    packed = Tokens(tokens.values.flatten(0, 1), Sequence(), offsets=torch.tensor([0, 12, 24, 36]))
    ours = StandIns(mean=1, channels=3)(packed, Mask(mask.hidden.flatten(), draws=mask.draws)).tokens.values
    torch.testing.assert_close(ours, StandIns(mean=1, channels=3)(tokens, mask).tokens.values.flatten(0, 1))


def test_another_samples_values_are_those_of_the_next_where_it_shows_them():
    tokens = some()
    hidden = torch.zeros(3, 12, dtype=torch.bool)
    hidden[0, :6] = True
    hidden[1, 3:9] = True
    mask = Mask(hidden, draws=streams(tokens))
    shown = StandIns(other=1)(tokens, mask).tokens.values
    assert torch.equal(shown[0, :3], tokens.values[1, :3])  # visible in the next
    for row in shown[0, 3:6]:  # hidden in the next: one of its visible places
        assert any(torch.equal(row, one) for one in tokens.values[1][~hidden[1]])
    assert torch.equal(shown[1, 3:9], tokens.values[2, 3:9])


def test_shares_are_kept_and_drawn_by_sample():
    tokens = some(400, 30, 2)
    mask = Mask(torch.ones(400, 30, dtype=torch.bool), draws=streams(tokens))
    kept = StandIns(zeros=0.3, keep=0.7)(tokens, mask)
    share = float((kept.tokens.values == 0).all(-1).float().mean())
    assert abs(share - 0.3) < 0.02
    part = StandIns(zeros=0.3, keep=0.7)(
        replace(tokens, values=tokens.values[5:9]), Mask(mask.hidden[5:9], draws=mask.streams()[5:9])
    )
    assert torch.equal(part.tokens.values, kept.tokens.values[5:9])


def test_bad_shares_are_refused():
    with pytest.raises(ValueError, match="must sum to 1"):
        StandIns(mean=0.5, noise=0.2)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        StandIns(mean=1.5, noise=-0.5)
    with pytest.raises(ValueError, match="are ids"):
        StandIns(zeros=1)(Tokens(torch.zeros(2, 4, dtype=torch.long), Sequence()), Mask(torch.ones(2, 4).bool()))


def field(channels=2, side=8):
    raw = torch.rand(4, channels, side, side, generator=torch.Generator().manual_seed(2))
    return raw, Tokens(cut(raw, Grid((4, 4)), 16), Grid((4, 4)))


def every(tokens, seed=0):
    return replace(EveryMask()(tokens), draws=streams(tokens, seed))


def test_cells_and_fields_are_each_others_inverse():
    raw, tokens = field()
    assert tokens.values.shape == (4, 16, 8)
    assert torch.equal(assembled(tokens.values, tokens.layout, 2), raw)
    volume = torch.rand(2, 3, 4, 6, 8)
    layout = Grid((2, 3, 4))
    assert torch.equal(assembled(cut(volume, layout, 24), layout, 3), volume)
    # The first cell has rows, columns, channels in this order.
    assert torch.equal(tokens.values[0, 1], raw[0, :, :2, 2:4].permute(1, 2, 0).flatten())


def test_low_and_high_frequencies_sum_to_the_field():
    _, tokens = field()
    parts = [
        FrequencyFilter(2, chance, channels=2, mean=[0.3, 0.1], std=[2.0, 3.0], bounds=None)(tokens, every(tokens))
        for chance in (1.0, 0.0)
    ]
    low, high = (one.tokens.values for one in parts)
    scale = torch.tensor([2.0, 3.0]).repeat(4)
    mean = torch.tensor([0.3, 0.1]).repeat(4)
    # In raw units; each part has lost the mean that scaling takes away.
    torch.testing.assert_close(low * scale + mean + high * scale + mean, tokens.values * scale + mean)
    hidden = [one.made["hidden_frequencies"] for one in parts]
    assert torch.equal(hidden[0], ~hidden[1])
    assert int(hidden[1][0].sum()) == 9  # within less than 2: 0, 4 beside it, 4 across
    assert hidden[1][0, 0, 0] and hidden[1][0, 1, 7] and not hidden[1][0, 2, 0]


def test_what_is_shown_knows_nothing_of_hidden_frequencies():
    raw, tokens = field()
    keep_low = FrequencyFilter(2, 1.0, channels=2)
    first = keep_low(tokens, every(tokens))
    noise = torch.fft.ifftn(
        torch.fft.fftn(torch.rand_like(raw), dim=(2, 3)) * first.made["hidden_frequencies"][:, None], dim=(2, 3)
    ).real
    other = Tokens(cut(raw + noise, tokens.layout, 16), tokens.layout)
    torch.testing.assert_close(keep_low(other, every(other)).tokens.values, first.tokens.values, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(other.values, tokens.values, atol=0.1)
    drawn = FrequencyFilter(2, 0.5, channels=2)(tokens, every(tokens, 1)).made["hidden_frequencies"]
    assert 0 < int(drawn[:, 0, 0].sum()) < 4  # some have lost frequency 0


def test_quantised_values_lie_in_their_bins_and_keep_their_order():
    tokens = some(3, 40, 6)
    shown = RandomQuantisation(5, channels=3)(tokens, every(tokens)).tokens.values
    for sample in range(3):
        for channel in range(3):
            clean = tokens.values[sample].view(40, 2, 3)[..., channel].flatten()
            seen = shown[sample].view(40, 2, 3)[..., channel].flatten()
            assert 1 < len(seen.unique()) <= 5
            order = clean.argsort()
            assert (seen[order].diff() >= 0).all()
            assert seen.min() >= clean.min() and seen.max() <= clean.max()
            tops = {float(s): float(clean[seen == s].max()) for s in seen.unique()}
            lows = {float(s): float(clean[seen == s].min()) for s in seen.unique()}
            for one, other in zip(sorted(tops), sorted(tops)[1:], strict=False):
                assert one <= lows[other] and tops[one] <= other  # none outside its bin
    close = RandomQuantisation(100_000, channels=3)(tokens, every(tokens)).tokens.values
    assert float((close - tokens.values).abs().max()) < 1e-3


def test_padding_does_not_widen_the_bins():
    tokens = some(2, 10, 1)
    valid = torch.arange(10) < torch.tensor([[10], [6]])
    padded = Tokens(torch.where(valid[..., None], tokens.values, 100.0), Sequence(), valid=valid)
    shown = RandomQuantisation(2)(padded, every(padded)).tokens.values
    assert float(shown[1, :6].max()) < 10


def test_noise_and_zeros_have_the_size_that_is_asked():
    tokens = some(900, 16, 6)
    noisy = NoisyValues(noise_std=0.5)(tokens, every(tokens)).tokens.values - tokens.values
    assert abs(float(noisy.std()) - 0.5) < 0.01
    assert abs(float(noisy.mean())) < 0.01
    zeroed = NoisyValues(zeros=Uniform(0.8, 0.9), channels=3)(tokens, every(tokens)).tokens.values == 0
    pixels = zeroed.unflatten(-1, (2, 3))
    assert torch.equal(pixels.any(-1), pixels.all(-1))  # channels fall together
    shares = pixels.all(-1).float().mean((1, 2))
    assert abs(float(shares.mean()) - 0.85) < 0.01
    clean = NoisyValues(zeros=0.9, in_evaluation=False).eval()(tokens, every(tokens)).tokens.values
    assert torch.equal(clean, tokens.values)


def test_what_a_sample_is_shown_is_its_own_in_any_batch():
    tokens = some(6, 12, 6)
    some_of = Tokens(tokens.values[2:5], Sequence())
    draws = Draws.of(3, torch.arange(6))
    for corruption in (RandomQuantisation(5), NoisyValues(0.3, 0.5), StandIns(noise=0.5, mean=0.5)):
        hidden = hidden_of(tokens)
        whole = corruption(tokens, Mask(hidden, draws=draws)).tokens.values
        part = corruption(some_of, Mask(hidden[2:5], draws=draws[2:5])).tokens.values
        assert torch.equal(whole[2:5], part)
