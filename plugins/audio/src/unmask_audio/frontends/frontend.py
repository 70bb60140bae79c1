"""What every front end does: waves of any lengths to frames of features, and back to something one can listen to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unmask.api import at_least

SAMPLE_RATE = 16_000
"""Of waves in Hz, where neither the front end nor the data says another one."""


class Features(NamedTuple):
    """Frames of a batch of clips.

    Args:
        values: ``[B, T, F]`` float32. Frames beyond a clip's own mean nothing.
        frames: ``[B]`` int64, each clip's own, at least 1; None: all T.
    """

    values: Tensor
    frames: Tensor | None


class FrontEnd(nn.Module, ABC):
    """Features of short overlapping windows of a wave. A clip's features do not depend on what it is batched with.

    Args:
        sample_rate: of the waves, in Hz, at least 1.
        hop: samples from one frame to the next, at least 1.
        width: F, features of a frame.
    """

    def __init__(self, sample_rate: int, hop: int, width: int) -> None:
        super().__init__()
        at_least(1, sample_rate=sample_rate)
        if hop < 1:
            raise ValueError(f"The hop must be at least 1 sample, but is {hop}.")
        self.sample_rate = sample_rate
        self.hop = hop
        self.width = width

    def forward(self, wave: Tensor, length: Tensor | None = None) -> Features:
        """Features of mono waves, in float32 whatever the precision around.

        Args:
            wave: ``[B, S]``, in [-1, 1] by convention, 0 beyond a clip's end.
            length: ``[B]`` int64, samples of each clip, at most S; None: all have S.

        Raises:
            ValueError: ``wave`` is not ``[B, S]`` or has no samples.
        """
        if wave.ndim != 2 or wave.shape[1] < 1:
            raise ValueError(f"`wave` must be [clips, samples] with at least 1 sample, but is {list(wave.shape)}.")
        with torch.autocast(wave.device.type, enabled=False):
            frames = None if length is None else self.count(length)
            return Features(self.features(wave.float(), frames), frames)

    @abstractmethod
    def count(self, num_samples: Tensor) -> Tensor:
        """How many frames clips of so many samples have: int64, at least 1."""

    @abstractmethod
    def features(self, wave: Tensor, frames: Tensor | None) -> Tensor:
        """``[B, T, F]`` of ``wave`` ``[B, S]``; ``frames`` ``[B]``, where clips differ, are each clip's own."""

    @abstractmethod
    def power(self, features: Tensor, hidden: Tensor | None = None) -> Tensor:
        """About the power spectrum ``[B, T, bins]`` that had these ``features`` ``[B, T, F]``, at least 0.

        ``hidden`` ``[B, T, F]`` bool are features that are not known: silence stands in for them.
        """

    @abstractmethod
    def window(self) -> Tensor:
        """The window of a frame ``[W]``, by which `power` was weighted; an FFT has ``2 * (bins - 1)`` points."""
