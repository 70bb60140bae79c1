"""Random numbers keyed by sample: the same in any batch, on any number of processes, on CPU and GPU."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from unmask.seeds import mix


class Draws:
    """A stream of random numbers for each sample of a batch.

    A number depends on its sample's key, on the name of the stream, on how many calls came before, and on its own
    place in the shape. It depends neither on the other samples of the batch nor on how far they are padded. It is a
    hash of all these in integer arithmetic, which is the same on all devices: keys by SplitMix64 (Steele, Lea & Flood
    2014, figure 16), the numbers of a row by two rounds of a 32-bit hash (Wellons 2018, "hash prospector").

    Args:
        keys: int64 of any shape, on the device where numbers are wanted: one stream each.
        seed: of what all samples share.
    """

    def __init__(self, keys: Tensor, seed: int = 0) -> None:
        self.keys = keys
        self.seed = seed
        self._calls = 0

    @classmethod
    def of(cls, seed: int, index: Tensor) -> Draws:
        """Streams of the samples with these numbers ``[B]`` int64: other seeds give unrelated ones."""
        return cls(_mixed((index + 1) * _STEP + mix(seed, "draws")), seed)

    @classmethod
    def fresh(cls, num_samples: int, device: torch.device | str = "cpu") -> Draws:
        """Streams that nobody has drawn from, by torch's own generator."""
        return cls.of(int(torch.randint(2**62, ())), torch.arange(num_samples, device=device))

    @property
    def device(self) -> torch.device:
        """Where numbers are made."""
        return self.keys.device

    def named(self, name: str) -> Draws:
        """Other streams of the same samples, as if nothing had been drawn: each use has a name of its own."""
        return Draws(_mixed(self.keys ^ mix(name)), mix(self.seed, name))

    def shared(self, step: int) -> Draws:
        """One stream ``[1]`` for all samples of an optimiser step, whatever batch each of them is in."""
        return Draws.of(mix(self.seed, "shared", step), torch.zeros(1, dtype=torch.long, device=self.device))

    def over(self, tokens: Any) -> Draws:
        """A stream for each of `Tokens`, of streams ``[B]``: ``[B, N]``, those of padding unused, or packed ``[T]``."""
        if tokens.offsets is None:
            return Draws(_split(self.keys, tokens.num_tokens), self.seed)
        owner = tokens.owner  # [T]
        place = torch.arange(len(owner), device=self.device) - tokens.offsets[owner]
        return Draws(_mixed(self.keys[owner] + (place + 1) * _STEP), self.seed)

    def __getitem__(self, which: Tensor | slice) -> Draws:
        """Some of the streams, from where these stand."""
        some = Draws(self.keys[which], self.seed)
        some._calls = self._calls
        return some

    def uniform(self, *shape: int) -> Tensor:
        """Float32 in [0, 1), multiples of 2^-24: ``[*streams, *shape]``."""
        bits = self._bits(shape)
        return bits.bitwise_right_shift_(8).bitwise_and_(2**24 - 1).float().mul_(2.0**-24)

    def normal(self, *shape: int) -> Tensor:
        """Float32 of mean 0 and variance 1 (Box & Muller 1958): ``[*streams, *shape]``."""
        radius = (-2 * torch.log1p(-self.uniform(*shape))).sqrt_()
        return radius.mul_(torch.cos(2 * math.pi * self.uniform(*shape)))

    def gumbel(self, *shape: int) -> Tensor:
        """Float32 of a standard Gumbel distribution, ``-log(-log(u))``: ``[*streams, *shape]``."""
        waits = -torch.log1p(-self.uniform(*shape))  # exponential, and 0 once in 2^24 draws
        return waits.clamp_(min=2.0**-25).log_().neg_()

    def integers(self, high: int | Tensor, *shape: int) -> Tensor:
        """Int64 in [0, high), ``high`` at most 2^31, or one for each stream: ``[*streams, *shape]``."""
        bits = self._bits(shape).long().bitwise_and_(2**32 - 1)
        if isinstance(high, Tensor):
            high = high.view(*high.shape, *[1] * len(shape))
        return bits.mul_(high).bitwise_right_shift_(32)

    def categorical(self, probabilities: Tensor) -> Tensor:
        """A class id for each stream, by probabilities ``[*streams, C]`` that need not sum to 1: int64."""
        edges = probabilities.double().cumsum(-1)
        lot = self.uniform()[..., None] * edges[..., -1:]
        return torch.searchsorted(edges, lot, right=True)[..., 0].clamp_(max=probabilities.shape[-1] - 1)

    def _bits(self, shape: tuple[int, ...]) -> Tensor:
        """32 random bits as int32: ``[*streams, *shape]``."""
        self._calls += 1
        keys = _mixed(self.keys + _wrapped(self._calls * _STEP))
        for side in shape[:-1]:
            keys = _split(keys, side)
        high = keys.bitwise_right_shift(32).int()
        return high if not shape else _row(high[..., None], keys.int()[..., None], shape[-1])


def _wrapped(number: int, bits: int = 64) -> int:
    """What integers of so many bits hold of a number: its lowest bits, the first of them as the sign."""
    number %= 2**bits
    return number - 2**bits if number >= 2 ** (bits - 1) else number


_STEP = _wrapped(0x9E3779B97F4A7C15)
_FIRST, _SECOND = _wrapped(0xBF58476D1CE4E5B9), _wrapped(0x94D049BB133111EB)
_STEP_32 = _wrapped(0x9E3779B9, 32)
_FIRST_32, _SECOND_32 = _wrapped(0x21F0AAAD, 32), _wrapped(0xD35A2D97, 32)


def _split(keys: Tensor, count: int) -> Tensor:
    """SplitMix64: ``count`` numbers from each key, ``[*keys, count]``."""
    return _mixed(keys[..., None] + torch.arange(1, count + 1, device=keys.device) * _STEP)


def _mixed(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser, in place."""
    _fold(bits, 30).mul_(_FIRST)
    _fold(bits, 27).mul_(_SECOND)
    return _fold(bits, 31)


def _row(high: Tensor, low: Tensor, count: int) -> Tensor:
    """``count`` numbers from the two halves of each key ``[..., 1]`` int32: ``[..., count]`` int32."""
    bits = torch.arange(count, dtype=torch.int32, device=high.device) * _STEP_32 + high
    _fold(bits, 16).mul_(_FIRST_32)
    _fold(bits, 15).bitwise_xor_(low).mul_(_SECOND_32)
    return _fold(bits, 15)


def _fold(bits: Tensor, by: int) -> Tensor:
    """``bits ^ (bits >>> by)``, in place; torch's own shift fills in the sign, which the mask takes away."""
    width = 32 if bits.dtype == torch.int32 else 64
    return bits.bitwise_xor_((bits >> by).bitwise_and_((1 << (width - by)) - 1))
