"""Random numbers keyed by what they are for, so that nothing needs to be saved to resume a run.

Every random number of a run is a function of the run's seed and of a key such as
``(epoch, batch)`` or ``(epoch, sample)``. A killed run, a run with other worker counts and an
uninterrupted run therefore draw the same masks, augmentations and dropout patterns.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def mix(*key: int | str) -> int:
    """A 63-bit seed from a key of integers and strings; other keys give unrelated seeds."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """A generator on ``device`` that depends on the key alone (CPU and CUDA streams differ)."""
    return torch.Generator(device).manual_seed(mix(*key))


@contextmanager
def seeded(*key: int | str) -> Iterator[None]:
    """Run a block with torch's CPU generator and Python's ``random`` keyed, then put both back."""
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    seed = mix(*key)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed other devices, too
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        random.setstate(python_state)
