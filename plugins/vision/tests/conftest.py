"""Shared by the vision tests: a sampler that hides exactly what a test says."""

import pytest
import torch
from torch import Tensor

from unmask.testing import GivenMask


@pytest.fixture
def given_mask():
    return GivenMask


@pytest.fixture
def some_hidden():
    """Makes ``[batch, num_tokens]`` with the same number hidden in each row."""

    def make(batch: int, num_tokens: int, num_hidden: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(batch, num_tokens, generator=generator).argsort(1).argsort(1) < num_hidden

    return make
