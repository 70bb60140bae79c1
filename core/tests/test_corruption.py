"""What stands in for hidden places of packed tokens, and that it is what stands in for them when they are padded."""

from __future__ import annotations

import pytest
import torch

from unmask.parts import Corruption
from unmask.structures import RANDOM, Mask, Sequence, Tokens
from unmask.testing.contract import shown_as, streams


def test_donors_of_packed_tokens_are_drawn_evenly_from_the_visible_places_of_the_same_sample() -> None:
    lengths = torch.tensor([900, 3, 700])
    offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    place = torch.arange(1603) - offsets[:-1].repeat_interleave(lengths)
    hidden = (place >= 10) | (place == 1)  # 9, 2 and 9 places are visible
    mask = shown_as(Corruption(random=1), Mask(hidden), 0, offsets)
    assert mask.show is not None
    assert mask.donor is not None
    assert (mask.show == RANDOM).all()
    assert not hidden[mask.donor].any()
    owner = torch.arange(3).repeat_interleave(lengths)
    assert torch.equal(owner[mask.donor], owner)
    for first, last in ((0, 900), (903, 1603)):
        counts = mask.donor[first:last].bincount(minlength=1603)[~hidden & (owner == owner[first])].double()
        expected = (last - first) / 9
        assert ((counts - expected) ** 2 / expected).sum() < 26.1  # 1 in 1,000 with 8 degrees of freedom


@pytest.mark.parametrize("corruption", [Corruption(random=1), Corruption(token=0.3, random=0.5, keep=0.2)])
def test_packed_tokens_are_corrupted_as_padded_ones(corruption: Corruption) -> None:
    valid = torch.arange(40) < torch.tensor([[40], [25], [7]])
    offsets = torch.nn.functional.pad(valid.sum(1).cumsum(0), (1, 0))
    padded = Tokens(torch.zeros(3, 40, 2), Sequence(), valid=valid)
    packed = Tokens(torch.zeros(72, 2), Sequence(), offsets=offsets)
    hidden = (torch.arange(40) % 3 == 1) & valid
    first = corruption(padded, Mask(hidden, valid=valid, draws=streams(padded))).mask
    again = corruption(packed, Mask(hidden[valid], draws=streams(packed))).mask
    assert first.show is not None and first.donor is not None and again.show is not None and again.donor is not None
    assert torch.equal(first.show[valid], again.show)
    assert torch.equal((first.donor + offsets[:-1, None])[valid], again.donor)


def test_what_a_sample_is_shown_depends_on_its_own_stream_alone() -> None:
    tokens = Tokens(torch.zeros(16, 30, 2), Sequence())
    hidden = torch.arange(30).expand(16, 30) % 2 == 0
    corruption, draws = Corruption(token=0.3, random=0.5, keep=0.2), streams(tokens)
    whole = corruption(tokens, Mask(hidden, draws=draws)).mask
    part = corruption(Tokens(torch.zeros(3, 30, 2), Sequence()), Mask(hidden[4:7], draws=draws[4:7])).mask
    assert whole.show is not None and whole.donor is not None and part.show is not None and part.donor is not None
    assert torch.equal(part.show, whole.show[4:7])
    assert torch.equal(part.donor, whole.donor[4:7])
    assert len(whole.show.unique(dim=0)) == 16
