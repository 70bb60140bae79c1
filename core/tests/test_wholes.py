"""Wholes: which samples are pieces of one thing, and the means of what is said of them."""

from __future__ import annotations

import numpy as np
import torch

from unmask.tools.wholes import Wholes, averaged, firsts


def test_pieces_of_one_name_that_follow_each_other_are_one_whole():
    wholes = Wholes()
    first = wholes.of({"name": ["a", "a", "b"], "piece": torch.tensor([0, 1, 0])}, 3)
    second = wholes.of({"name": ["b", "b", "b", "c"], "piece": torch.tensor([2, 0, 1, 0])}, 4)
    # "b" goes on in the second batch, without its piece 1; then another "b" begins.
    assert [*first, *second] == [0, 0, 1, 1, 2, 2, 3] and wholes.count == 4


def test_samples_without_piece_or_name_are_wholes():
    wholes = Wholes()
    assert wholes.of({"name": ["a", "a"]}, 2).tolist() == [0, 1]
    assert wholes.of({"piece": torch.tensor([1, 2])}, 2).tolist() == [2, 3]
    assert wholes.of(torch.zeros(2, 3), 2).tolist() == [4, 5]


def test_rows_of_a_whole_are_averaged_in_the_order_in_which_wholes_first_come():
    values = torch.tensor([[1.0, 0], [3, 0], [8, 2], [5, 6], [0, 4]])
    whole = np.array([7, 7, 2, 7, 2])
    assert averaged(values, whole).tolist() == [[3, 2], [4, 3]]
    assert firsts(whole).tolist() == [0, 2]
    assert averaged(values, np.arange(5)) is values
