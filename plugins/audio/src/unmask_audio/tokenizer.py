"""Spectrogram tokenizers: patches in time and frequency (AST, Gong et al. 2021, section 2.1), or whole frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unmask import Grid, Layout, Prediction, Sequence, Tokenizer, Tokens
from unmask.api import at_least
from unmask_audio.drawing import spectrogram
from unmask_audio.frontends import Fbank, FrontEnd
from unmask_audio.listening import griffin_lim, wav_bytes

AUDIOSET_MEAN, AUDIOSET_STD = -4.2677393, 4.5689974
"""Of a 128-bin `Fbank` of AudioSet, as in AST's and Audio-MAE's code."""
NUM_SEGMENTS = 16
"""Stretches of a clip of which `raw` gives the mean features each."""


class SpectrogramTokenizer(Tokenizer):
    """``[B, S]`` to ``[B, N, pt * pf]``: patches of ``(features - mean) / (2 * std)`` on a `Grid` of time x frequency.

    Tokens are row-major with time first: all patches of the first pt frames, low frequencies first, then those of the
    next; a patch holds its frames one after the other. What lies beyond a clip is 0, the mean. Where the batch has
    ``length``, tokens that hold none of a clip's frames are padding; where it has not, they count as real, as in
    Audio-MAE.

    Args:
        frontend: makes features; None: `Fbank` of 128 bins at 16 kHz.
        num_frames: T, of every clip: longer ones are cut off, shorter ones filled up; a multiple of pt. None: as many
            as the longest clip of a batch has, up to a whole patch.
        patch: pt frames x pf features; pf must divide the front end's width.
        mean: subtracted, one number or one per feature; None: AudioSet's. ``unmask audio-stats`` measures it.
        std: half of what is divided by, above 0, likewise.
        per_clip: each clip's features, so normalised, are brought to mean 0 and standard deviation 0.5 over its own
            frames: recordings of other levels become alike. Pictures and sounds then have the level of the data.

    Raises:
        ValueError: an argument outside its range; waves that are not ``[B, S]``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        frontend: FrontEnd | None = None,
        num_frames: int | None = 1024,
        patch: tuple[int, int] = (16, 16),
        mean: float | list[float] | None = None,
        std: float | list[float] | None = None,
        per_clip: bool = False,
    ) -> None:
        super().__init__()
        self.per_clip = per_clip
        self.frontend = frontend or Fbank()
        width = self.frontend.width
        if min(patch) < 1 or width % patch[1]:
            fitting = [size for size in range(1, width + 1) if width % size == 0]
            near = min(fitting, key=lambda size: abs(size - patch[1]))
            raise ValueError(
                f"`patch` must be frames x features of which the latter divide {width}, but is {list(patch)}; "
                f"nearest: [{max(patch[0], 1)}, {near}]."
            )
        if num_frames is not None and (num_frames < patch[0] or num_frames % patch[0]):
            raise ValueError(
                f"`num_frames` must be a multiple of the {patch[0]} frames of a patch, but is {num_frames}; "
                f"nearest: {max(round(num_frames / patch[0]), 1) * patch[0]}."
            )
        self.num_frames = num_frames
        self.patch = (patch[0], patch[1])
        for name, given, default in (("mean", mean, AUDIOSET_MEAN), ("std", std, AUDIOSET_STD)):
            numbers = torch.tensor(default if given is None else given).view(-1)
            if len(numbers) not in (1, width):
                raise ValueError(f"`{name}` must be one number or {width}, one per feature, but has {len(numbers)}.")
            self.register_buffer(name, numbers, persistent=False)  # [1] or [F]
        if bool((self.std <= 0).any()):
            raise ValueError(f"`std` must be above 0, but is {std}.")

    def forward(self, batch: Mapping[str, Any] | Tensor) -> Tokens:
        """Tokens of ``batch["wave"]`` (``batch["length"]`` ``[B]`` are its real samples), or of a bare tensor."""
        wave = batch["wave"] if isinstance(batch, Mapping) else batch
        length = batch.get("length") if isinstance(batch, Mapping) else None
        features, frames = self.frontend(wave, length)  # [B, T, F]
        features = (features - self.mean) / (2 * self.std)
        beyond = None
        if frames is not None:
            beyond = (torch.arange(features.shape[1], device=features.device) >= frames[:, None])[
                ..., None
            ]  # [B, T, 1]
        features = _standardized(features, beyond) if self.per_clip else features
        features = features if beyond is None else features.masked_fill(beyond, 0)

        time, frequency = self.patch
        num_frames = self.num_frames or -(-features.shape[1] // time) * time
        features = F.pad(features, (0, 0, 0, num_frames - features.shape[1]))  # cuts where it is negative
        rows, columns = num_frames // time, features.shape[2] // frequency
        cells = features.view(-1, rows, time, columns, frequency).transpose(2, 3)
        patches = cells.reshape(-1, rows * columns, time * frequency)  # [B, N, pt * pf]
        return Tokens(patches, self.layout(rows, columns), valid=self._valid(frames, rows, columns))

    def layout(self, rows: int, columns: int) -> Layout:
        """How ``rows`` in time x ``columns`` in frequency lie to each other."""
        return Grid((rows, columns))

    def features(self, tokens: Tokens) -> Tensor:
        """Features ``[B, T, F]`` of the tokens, in the unit of the front end."""
        time, frequency = self.patch
        columns = self.frontend.width // frequency
        cells = tokens.values.detach().float().view(len(tokens.values), -1, columns, time, frequency)
        features = cells.transpose(2, 3).flatten(3).flatten(1, 2)  # [B, T, F]
        return features * (2 * self.std) + self.mean

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """Time to the right, frequency upwards, from -2 to 2 standard deviations; hidden grey, padding white."""
        levels = (self.features(tokens) - self.mean) / self.std
        covered, padding = (
            None if places is None else self._spread(places)
            for places in (hidden, None if tokens.valid is None else ~tokens.valid)
        )
        return spectrogram(levels, covered, padding)

    def files(
        self, tokens: Tokens, hidden: Tensor | None = None, prediction: Prediction | None = None
    ) -> dict[str, list[bytes]]:
        """``.wav`` by Griffin-Lim, without padding; hidden parts are silent."""
        covered = None if hidden is None else self._spread(hidden)
        power = self.frontend.power(self.features(tokens), covered)  # [B, T, bins]
        waves = griffin_lim(power, self.frontend.window(), self.frontend.hop)
        lengths = (self._real_frames(tokens) * self.frontend.hop).tolist()
        rate = self.frontend.sample_rate
        return {".wav": [wav_bytes(wave[:length], rate) for wave, length in zip(waves, lengths, strict=True)]}

    def raw(self, tokens: Tokens) -> Tensor:
        """Mean features of 16 even stretches of each clip, in their order: ``[B, 16 * F]``."""
        features = (self.features(tokens) - self.mean) / (2 * self.std)
        lengths = self._real_frames(tokens).tolist()
        clips = (clip[:length].T for clip, length in zip(features, lengths, strict=True))  # [F, frames]
        return torch.stack([F.adaptive_avg_pool1d(clip, NUM_SEGMENTS).T.flatten() for clip in clips])

    def _valid(self, frames: Tensor | None, rows: int, columns: int) -> Tensor | None:
        """``[B, N]`` bool, False for patches without a frame of their clip; None: there are none."""
        if frames is None:
            return None
        starts = torch.arange(rows, device=frames.device) * self.patch[0]
        valid = (starts < frames[:, None]).repeat_interleave(columns, dim=1)
        return valid if torch.compiler.is_exporting() or not bool(valid.all()) else None

    def _real_frames(self, tokens: Tokens) -> Tensor:
        """Frames of each clip, whole patches: ``[B]``."""
        per_frame = self.frontend.width // self.patch[1]  # tokens of the same frames
        shape = tokens.values.shape[:2]
        valid = tokens.values.new_ones(shape, dtype=torch.bool) if tokens.valid is None else tokens.valid
        return valid.sum(1) // per_frame * self.patch[0]

    def _spread(self, places: Tensor) -> Tensor:
        """``[B, N]`` as ``[B, T, F]``."""
        time, frequency = self.patch
        cells = places.view(len(places), -1, self.frontend.width // frequency)  # [B, rows, columns]
        return cells.repeat_interleave(time, 1).repeat_interleave(frequency, 2)


class FrameTokenizer(SpectrogramTokenizer):
    """``[B, S]`` to ``[B, N, stack * F]``: each frame, or ``stack`` of them one after the other, is a token.

    They lie in a `Sequence`; all else is as in `SpectrogramTokenizer`.

    Args:
        frontend: makes features; None: `Fbank` of 128 bins at 16 kHz.
        num_frames: of every clip, a multiple of ``stack``; None: as many as the longest clip of a batch has.
        stack: frames of a token, at least 1.
        mean: subtracted, one number or one per feature; None: AudioSet's. ``unmask audio-stats`` measures it.
        std: half of what is divided by, above 0, likewise.
        per_clip: as in `SpectrogramTokenizer`.

    Raises:
        ValueError: an argument outside its range; waves that are not ``[B, S]``.
    """

    def __init__(
        self,
        frontend: FrontEnd | None = None,
        num_frames: int | None = None,
        stack: int = 1,
        mean: float | list[float] | None = None,
        std: float | list[float] | None = None,
        per_clip: bool = False,
    ) -> None:
        at_least(1, stack=stack)
        frontend = frontend or Fbank()
        super().__init__(frontend, num_frames, (stack, frontend.width), mean, std, per_clip)

    def layout(self, rows: int, columns: int) -> Layout:
        return Sequence()


def _standardized(features: Tensor, beyond: Tensor | None) -> Tensor:
    """Each clip of ``[B, T, F]`` at mean 0 and deviation 0.5 over its frames, those not ``beyond`` it ``[B, T, 1]``."""
    real = features.new_ones(()) if beyond is None else (~beyond).to(features.dtype)
    weights = real.expand_as(features)
    count = weights.sum((1, 2), keepdim=True).clamp(min=1)
    centred = (features - (features * weights).sum((1, 2), keepdim=True) / count) * weights
    deviation = (centred.square().sum((1, 2), keepdim=True) / count).sqrt()
    return centred / (2 * deviation.clamp(min=1e-4))  # of silence, which has no deviation, next to zero
