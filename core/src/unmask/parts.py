"""The families of parts that `MaskedModel.step` calls. A plugin's component subclasses one of them.

Every part is an `nn.Module`, takes its widths as constructor arguments, and is named in the
entry-point group of its family (``unmask.masks``, ``unmask.encoders``, ...).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from unmask.schedules import Progress, Schedule, at
from unmask.structures import Grid, Latent, Layout, Mask, Prediction, Sequence, Set, Tokens
from unmask.support.remembered import Remembered


class Tokenizer(Remembered, nn.Module, ABC):
    """Cuts a batch of raw samples into the units that may be hidden."""

    @abstractmethod
    def forward(self, batch: Any) -> Tokens:
        """Tokens of ``batch``, their values in the units that the loss is measured in."""

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """Draws samples as a person would look at them, hidden places (``[B, N]`` bool) greyed out.

        Returns:
            B pictures ``[height, width, 3]`` uint8.

        Raises:
            NotImplementedError: this modality has no picture.
        """
        raise NotImplementedError(f"{type(self).__name__} draws no pictures.")

    def files(
        self, tokens: Tokens, hidden: Tensor | None = None, prediction: Prediction | None = None
    ) -> dict[str, list[bytes]]:
        """The same samples in files of this modality's own kinds: by suffix (``.wav``), B contents."""
        return {}

    def raw(self, tokens: Tokens) -> Tensor | None:
        """Raw input as one vector per sample ``[B, F]``, for probes; None: values flattened, or their mean."""
        return None


class MaskSampler(Remembered, nn.Module, ABC):
    """Chooses what is hidden, per sample, for the whole batch at once and on its device.

    Hides ``num_hidden = N - floor(N * (1 - ratio))`` of a sample's N real tokens, the rule of MAE's
    reference code, but never all and never none. The same generator state gives the same mask.

    Args:
        ratio: share of a sample's tokens to hide, in (0, 1), or a schedule of it; None for a mask
            whose geometry tells the count.

    Raises:
        ValueError: a ratio outside (0, 1), a sample of fewer than two tokens, or a layout that
            this mask cannot work on.
    """

    layouts: ClassVar[tuple[type[Layout], ...]] = (Set, Sequence, Grid)
    """Layouts that this mask can work on."""

    grid_sides: ClassVar[tuple[int, ...]] = (2, 3)
    """How many sides a grid may have."""

    def __init__(self, ratio: float | Schedule | None = None) -> None:
        super().__init__()
        if ratio is not None and not isinstance(ratio, Schedule) and not 0 < ratio < 1:
            raise ValueError(f"`ratio` must be in (0, 1), but is {ratio}.")
        self.ratio = ratio

    def forward(
        self, tokens: Tokens, progress: Progress | None = None, generator: torch.Generator | None = None
    ) -> Mask:
        """A mask for ``tokens``; dense and packed tokens alike."""
        valid = _dense_valid(tokens)  # [B, N]
        ragged = tokens.valid is not None or tokens.offsets is not None
        self.check(tokens.layout, valid.shape[1], valid if ragged else None)

        progress = progress or Progress()
        num_hidden = None if ragged else self.count(valid.shape[1], tokens.layout, progress)
        if num_hidden is None:
            lengths = valid.sum(-1).tolist()
            per_sample = [self.count(length, tokens.layout, progress) for length in lengths]
            counts = torch.tensor(per_sample, device=valid.device)  # [B]
        else:
            counts = torch.full((len(valid),), num_hidden, device=valid.device)

        drawn = self.sample(valid, counts, tokens.layout, generator)
        mask = drawn if isinstance(drawn, Mask) else Mask(drawn, num_hidden=num_hidden)
        if tokens.offsets is not None:
            return Mask(mask.hidden[valid], None if mask.predict is None else mask.predict[valid])
        return replace(mask, valid=tokens.valid)

    def check(self, layout: Layout, num_tokens: int, valid: Tensor | None) -> None:
        """Refuses what this mask cannot work on.

        Args:
            layout: how a sample's tokens lie to each other.
            num_tokens: N, padding included.
            valid: ``[B, N]`` bool, False at padding; None: no sample is padded.

        Raises:
            ValueError: it cannot.
        """
        fits = isinstance(layout, self.layouts)
        if not fits or (isinstance(layout, Grid) and len(layout.shape) not in self.grid_sides):
            sides = " or ".join(f"{sides}-D" for sides in self.grid_sides)
            names = (f"{sides} Grid" if kind is Grid else kind.__name__ for kind in self.layouts)
            raise ValueError(
                f"{type(self).__name__} works on {', '.join(names)} layouts, but the tokens lie on a {layout}."
            )
        if isinstance(layout, Grid) and math.prod(layout.shape) != num_tokens:
            raise ValueError(
                f"A sample on a {layout} must have {math.prod(layout.shape)} tokens, but has {num_tokens}."
            )

    def count(self, num_tokens: int, layout: Layout, progress: Progress) -> int:
        """How many of a sample's ``num_tokens`` real tokens to hide; 0 where `sample` counts for itself."""
        if self.ratio is None:
            return 0
        ratio = at(self.ratio, progress)
        if not 0 < ratio < 1:
            raise ValueError(f"The scheduled `ratio` must be in (0, 1), but is {ratio:g}.")
        return num_to_hide(num_tokens, ratio)

    @abstractmethod
    def sample(self, valid: Tensor, counts: Tensor, layout: Layout, generator: torch.Generator | None) -> Tensor | Mask:
        """Which places are hidden.

        Args:
            valid: ``[B, N]`` bool, False at padding, which must never be hidden.
            counts: ``[B]`` int64, how many places to hide in each sample: what `count` said.
            layout: how a sample's tokens lie to each other.
            generator: on the device of ``valid``.

        Returns:
            ``hidden`` ``[B, N]`` bool with exactly ``counts`` True places a row; or a whole `Mask`
            from a sampler that counts by a rule of its own or says where answers are asked.
        """


class Encoder(Remembered, nn.Module, ABC):
    """Turns the tokens it is shown into codes. Nothing of a hidden value may reach its output."""

    width: int
    """D, the width of its codes."""
    num_layers: int
    """How many layers have codes of their own."""

    @abstractmethod
    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """Codes of the tokens that ``mask`` shows; of all of them when it is None (inference).

        ``layer`` in [1, num_layers] asks for the output of that layer as it is; None: of the last one, normed.
        """

    def depth(self, layer: int | None) -> int:
        """How many layers `forward` runs to answer for ``layer``."""
        if layer is not None and not 1 <= layer <= self.num_layers:
            raise ValueError(f"`layer` must be in [1, {self.num_layers}], the encoder's layers, but is {layer}.")
        return layer or self.num_layers


class Predictor(Remembered, nn.Module, ABC):
    """Answers at the asked places, from codes and from where things lie, never from hidden values."""

    @abstractmethod
    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        """Answers at ``mask.asked``; ``places`` are the tokens without their values."""


class Target(Remembered, nn.Module, ABC):
    """What should be predicted, fixed before encoding and without gradient."""

    def start(self, encoder: Encoder) -> None:
        """Called once by the model with its encoder, for targets that follow it."""

    def update(self, encoder: Encoder, progress: Progress) -> dict[str, float]:
        """Called after every optimiser step; returns numbers worth logging."""
        return {}

    @abstractmethod
    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        """The right answers in the order of ``mask.asked``: ``[B, M, T]``, or class ids ``[B, M]``."""

    def restore(self, prediction: Prediction, tokens: Tokens, mask: Mask) -> Tensor | None:
        """Predicted token values ``[B, M, V]``, for pictures; None when answers are not values."""
        return None


class LossValue(NamedTuple):
    """A scalar to minimise, and what each asked place contributed ``[B, M]`` (detached)."""

    total: Tensor
    per_token: Tensor


class Loss(Remembered, nn.Module, ABC):
    """Compares answers with targets: the mean over all asked places of the batch."""

    @abstractmethod
    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """One number per asked place: ``[B, M]``.

        Args:
            prediction: ``[B, M, T]``, or in groups ``[B, G, M, T]``.
            target: ``[B, M, T]`` likewise, or class ids ``[B, M]``.
            valid: ``[B, M]`` bool, False where a short row was filled up; None: all are real.
        """

    def forward(self, prediction: Prediction, target: Tensor) -> LossValue:
        if target.shape not in (prediction.values.shape, prediction.values.shape[:-1]):
            raise ValueError(
                f"`target_width` of the predictor must be {target.shape[-1]}, the width of the target "
                f"{tuple(target.shape)}, but its answers are {tuple(prediction.values.shape)}."
            )
        valid = prediction.asked.valid
        per_token = self.per_token(prediction.values, target, valid)
        if valid is None:
            return LossValue(per_token.mean(), per_token.detach())
        per_token = per_token.masked_fill(~valid, 0)
        return LossValue(per_token.sum() / valid.sum().clamp(min=1), per_token.detach())


class Step(NamedTuple):
    """All that one step made, for terms, pictures and monitors."""

    tokens: Tokens
    mask: Mask
    target: Tensor
    latent: Latent
    prediction: Prediction
    loss: LossValue
    terms: Mapping[str, Tensor] = {}
    """What each term came to, by its name, detached and without its weight; the total holds them."""


class Term(Remembered, nn.Module, ABC):
    """One more summand of the loss, made of the finished step: of its codes, answers or masks.

    Any method takes terms: ``loss = loss of the answers + sum of weight * term``.

    Args:
        weight: of this summand, at least 0, or a schedule of it.

    Raises:
        ValueError: a weight below 0.
    """

    def __init__(self, weight: float | Schedule = 1.0) -> None:
        super().__init__()
        if not isinstance(weight, Schedule) and not weight >= 0:
            raise ValueError(f"`weight` must be at least 0, but is {weight}.")
        self.weight = weight

    def start(self, model: Any) -> None:
        """Called once by the model, which has its parts by then: layers of its sizes are made here."""

    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        """Called after every optimiser step; returns numbers worth logging, behind the term's name."""
        return {}

    @abstractmethod
    def forward(self, step: Step, model: Any) -> Tensor:
        """A scalar in float32, a mean over the samples of the batch."""


def num_to_hide(num_tokens: int, ratio: float) -> int:
    """Places to hide among ``num_tokens``: all but ``floor(num_tokens * (1 - ratio))``, at least
    one, never all.

    Raises:
        ValueError: fewer than two tokens, of which none could be hidden and another left.
    """
    if num_tokens < 2:
        raise ValueError(f"A sample must have at least 2 tokens to hide one, but has {num_tokens}.")
    kept = math.floor(num_tokens * (1 - ratio) + 1e-9)  # 1 - 0.9 is a little less than 0.1
    return min(max(num_tokens - kept, 1), num_tokens - 1)


def _dense_valid(tokens: Tokens) -> Tensor:
    """``[B, N]`` bool, False at padding, for dense and packed tokens alike."""
    if tokens.offsets is not None:
        lengths = tokens.offsets.diff()  # [B]
        return torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
    if tokens.valid is not None:
        return tokens.valid
    return torch.ones(tokens.values.shape[:2], dtype=torch.bool, device=tokens.values.device)
