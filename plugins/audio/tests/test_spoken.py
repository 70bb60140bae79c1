"""Spoken digits by rule: held-out speakers, the same sounds in every run, words that differ."""

import numpy as np
import pytest
import torch

from unmask.testing import DataContract
from unmask_audio.data import SpokenDigitsData
from unmask_audio.data.spoken import SpokenDigits

FEW = {"num_speakers": 3, "num_val_speakers": 1, "num_takes": 1}


class TestSpokenDigits(DataContract):
    def make(self, **options):
        return SpokenDigitsData(batch_size=4, **{**FEW, **options})


def test_every_digit_is_spoken_as_often_and_speakers_are_held_out():
    data = SpokenDigitsData(batch_size=4, **FEW)
    data.setup("fit")
    assert list(data.classes) == [str(digit) for digit in range(10)]
    train, val = (
        [part[place] for place in range(len(part))] for part in (data.splits.probe_train, data.splits.probe_test)
    )
    assert sorted(sample["label"] for sample in train) == sorted([*range(10)] * 2)
    assert {sample["speaker"] for sample in train} == {"s0", "s1"}
    assert {sample["speaker"] for sample in val} == {"s2"}


def test_sounds_are_the_same_each_time_and_loud_enough():
    source = SpokenDigits(**FEW)
    one, again, other = source.sound(1, "6", 0), source.sound(1, "6", 0), source.sound(1, "6", 1)
    assert one.shape == (6400,)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert 0.2 < np.abs(one).max() <= 1


def test_hisses_lie_higher_than_vowels():
    """The middle frequency of six (s, i, k, s) against that of one (w, a, n)."""

    def middle(digit):
        power = torch.fft.rfft(torch.tensor(SpokenDigits(**FEW).sound(0, digit, 0))).abs() ** 2
        return float((power * torch.arange(len(power))).sum() / power.sum())

    assert middle("6") > 1.5 * middle("1")


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"`num_val_speakers` must be in \[1, 2\], below `num_speakers`, but is 3"):
        SpokenDigitsData(num_speakers=3, num_val_speakers=3)
    with pytest.raises(ValueError, match="`num_takes` must be at least 1, but is 0"):
        SpokenDigitsData(num_takes=0)
