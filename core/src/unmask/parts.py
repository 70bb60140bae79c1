"""The families of parts that `MaskedModel.step` calls. A plugin's component subclasses one of them.

Every part is an `nn.Module`, takes its widths as constructor arguments, and is named in the
entry-point group of its family (``unmask.masks``, ``unmask.encoders``, ...).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import abc
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from unmask.draws import Draws
from unmask.schedules import Progress, Schedule, Spread, at
from unmask.step import Given, LossValue, Shown, Step
from unmask.structures import KEPT, RANDOM, TOKEN, Grid, Latent, Layout, Mask, Prediction, Sequence, Set, Tokens
from unmask.support.checks import inside
from unmask.support.remembered import Remembered


class Part(Remembered, nn.Module, ABC):
    """What all parts have: a life beside the step. Methods here do nothing; a part has those it needs."""

    joint: ClassVar[bool] = False
    """Whether this part takes joint hand-offs as they are; one that does not is called for each of their parts."""
    reads: abc.Sequence[int] = ()
    """Layers of the encoder, in [0, num_layers], whose codes this part finds in `Latent.inner`; 0: see `Encoder`."""

    def start(self, model: Any) -> None:
        """Called once by the model, which has its parts by then: layers of its sizes and copies are made here."""

    def begin(self, model: Any) -> None:
        """Called when a fit begins, with what a checkpoint held: what another run or the training data must tell is
        read here, unless it is known by then."""

    def observe(self, step: Step, model: Any) -> None:
        """Called with every finished step of training, before the gradient."""

    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        """Called after every optimiser step; returns numbers worth logging, behind the name of a term or objective."""
        return {}


class Tokenizer(Part):
    """Cuts a batch of raw samples into the units that may be hidden."""

    part_names: abc.Sequence[str] = ()
    """Names of the parts of joint tokens, where each has a tokenizer of its own that can be used without the others."""

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


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a mask chooses from, in dense form whatever form the tokens have.

    Args:
        tokens: with their values: a mask may look at what it hides.
        valid: ``[B, N]`` bool, False at padding, which must never be hidden.
        counts: ``[B]`` int64, how many places to hide in each sample: what `MaskSampler.count` said.
        progress: where the run stands.
    """

    tokens: Tokens
    valid: Tensor
    counts: Tensor
    progress: Progress = field(default_factory=Progress)

    @property
    def layout(self) -> Layout:
        """How a sample's tokens lie to each other."""
        return self.tokens.layout

    def dense(self, of_tokens: Tensor, fill: float = 0) -> Tensor:
        """What is known of each token, also packed ``[T, ...]``, as ``[B, N, ...]`` with ``fill`` at padding."""
        if self.tokens.offsets is None:
            wide = self.valid.view(*self.valid.shape, *[1] * (of_tokens.ndim - 2))
            return of_tokens.masked_fill(~wide, fill)
        rows = of_tokens.new_full((*self.valid.shape, *of_tokens.shape[1:]), fill)
        rows[self.valid] = of_tokens
        return rows


class MaskSampler(Part):
    """Chooses what is hidden, per sample, for the whole batch at once and on its device.

    Hides ``num_hidden = N - floor(N * (1 - ratio))`` of a sample's N real tokens, the rule of MAE's
    reference code, but never all and never none. What is drawn for a sample depends on its own stream alone.

    Args:
        ratio: share of a sample's tokens to hide, in (0, 1), a schedule of it, or a spread that it is drawn
            from for each sample; None for a mask whose geometry tells the count.

    Raises:
        ValueError: a ratio outside (0, 1), a sample of fewer than two tokens, or a layout that
            this mask cannot work on.
    """

    layouts: ClassVar[tuple[type[Layout], ...]] = (Set, Sequence, Grid)
    """Layouts that this mask can work on."""

    grid_sides: ClassVar[tuple[int, ...]] = (2, 3)
    """How many sides a grid may have."""

    def __init__(self, ratio: float | Schedule | Spread | None = None) -> None:
        super().__init__()
        if ratio is not None and not isinstance(ratio, Schedule | Spread) and not 0 < ratio < 1:
            raise ValueError(f"`ratio` must be in (0, 1), but is {ratio}.")
        self.ratio = ratio

    def forward(self, tokens: Tokens, progress: Progress | None = None, draws: Draws | None = None) -> Mask:
        """A mask for ``tokens``, dense, packed or joint, drawn from ``draws``; None: from torch's own generator."""
        if tokens.parts is not None and not self.joint:
            draws = draws or Draws.fresh(tokens.num_samples, tokens.device)
            made = {name: self(part, progress, draws.named(name)) for name, part in tokens.parts.items()}
            if any(mask.parts is not None for mask in made.values()):
                raise ValueError(
                    f"`mask` must make one mask of each part where samples have several, but {type(self).__name__} "
                    "makes several; nearest: random."
                )
            return Mask.join(made)
        valid = _dense_valid(tokens)  # [B, N]
        ragged = tokens.valid is not None or tokens.offsets is not None
        self.check(tokens.layout, valid.shape[1], valid if ragged else None)

        progress = progress or Progress()
        draws = draws or Draws.fresh(len(valid), valid.device)
        ratios = self._ratios(progress, draws)
        num_hidden = None if ragged or isinstance(ratios, list) else self.count(valid.shape[1], tokens.layout, ratios)
        if num_hidden is None:
            lengths = valid.sum(-1).tolist()
            each = ratios if isinstance(ratios, list) else [ratios] * len(lengths)
            per_sample = [
                self.count(*one)
                if one[0] or tokens.offsets is not None
                else 0  # all padding: the sample lacks this part
                for one in zip(lengths, repeat(tokens.layout), each, strict=False)
            ]
            counts = torch.tensor(per_sample, device=valid.device)  # [B]
        else:
            counts = torch.full((len(valid),), num_hidden, device=valid.device)

        drawn = self.sample(Candidates(tokens, valid, counts, progress), draws)
        mask = drawn if isinstance(drawn, Mask) else Mask(drawn, num_hidden=num_hidden)
        if tokens.offsets is not None:
            asked = None if mask.predict is None else mask.predict[valid]
            weight = None if mask.weight is None else mask.weight[valid]
            return Mask(mask.hidden[valid], asked, weight=weight, draws=draws)
        return replace(mask, valid=tokens.valid, draws=draws)

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

    def count(self, num_tokens: int, layout: Layout, ratio: float | None) -> int:
        """How many of a sample's ``num_tokens`` real tokens to hide; 0 where `sample` counts for itself."""
        return 0 if ratio is None else num_to_hide(num_tokens, ratio)

    @abstractmethod
    def sample(self, among: Candidates, draws: Draws) -> Tensor | Mask:
        """Which places are hidden.

        Args:
            among: what may be hidden, and how many of it.
            draws: a stream for each sample, on the device of the tokens.

        Returns:
            ``hidden`` ``[B, N]`` bool with exactly ``among.counts`` True places a row; or a whole `Mask`
            from a sampler that counts by a rule of its own or says where answers are asked.
        """

    def _ratios(self, progress: Progress, draws: Draws) -> float | list[float] | None:
        """The ratio that `count` gets, or one for each sample."""
        if self.ratio is None or isinstance(self.ratio, float):
            return self.ratio
        if isinstance(self.ratio, Spread):
            share: Tensor = draws.named("ratio").uniform()  # [B]
            ratios: list[float] = self.ratio(share).clamp(1e-6, 1 - 1e-6).tolist()
            return ratios
        ratio = at(self.ratio, progress)
        if not 0 < ratio < 1:
            raise ValueError(f"The scheduled `ratio` must be in (0, 1), but is {ratio:g}.")
        return ratio


class Corruption(Part):
    """How hidden places are shown to the encoder, as shares that sum to 1.

    Either all are dropped (``drop=1``: the encoder never sees a trace, MAE), or each is
    independently replaced by the mask token, replaced by a visible place of its sample, or kept
    (BERT: ``Corruption(token=0.8, random=0.1, keep=0.1)``). A subclass may change values as well, of any place:
    targets are always of the clean ones.

    Raises:
        ValueError: a share outside [0, 1], a sum other than 1, or ``drop`` other than 0 or 1.
    """

    def __init__(self, drop: float = 0.0, token: float = 0.0, random: float = 0.0, keep: float = 0.0) -> None:
        super().__init__()
        shares = {"drop": drop, "token": token, "random": random, "keep": keep}
        inside("[0, 1]", **shares)
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"The shares must sum to 1, but {shares} sum to {sum(shares.values()):g}.")
        if drop not in (0, 1):
            raise ValueError(f"`drop` must be 0 or 1 (all hidden places or none), but is {drop}.")
        self.drop, self.token, self.random, self.keep = drop, token, random, keep

    def extra_repr(self) -> str:
        shares = {name: getattr(self, name) for name in ("drop", "token", "random", "keep")}
        return ", ".join(f"{name}={share:g}" for name, share in shares.items() if share)

    def forward(self, tokens: Tokens, mask: Mask) -> Shown:
        """What the encoder is given: here all values, and a mask with ``show`` and ``donor`` filled in."""
        return Shown(tokens, self.shown(tokens, mask))

    def shown(self, tokens: Tokens, mask: Mask) -> Mask:
        """The mask with ``show`` and ``donor`` filled in, for dense, packed and joint tokens."""
        if mask.parts is not None:
            parts = {name: self.shown(tokens.part(name), part) for name, part in mask.parts.items()}
            return replace(Mask.join(parts), draws=mask.draws)
        if self.drop:
            return mask
        if self.token == 1:
            return replace(mask, show=torch.full_like(mask.hidden, TOKEN, dtype=torch.int8))
        draws = mask.streams().named("corruption").over(tokens)
        draw = draws.uniform()
        show = torch.full_like(mask.hidden, KEPT, dtype=torch.int8)
        show[draw < self.token + self.random] = RANDOM
        show[draw < self.token] = TOKEN
        return replace(mask, show=show, donor=self.donors(tokens, mask, draws) if self.random else None)

    def donors(self, tokens: Tokens, mask: Mask, draws: Draws) -> Tensor:
        """For each place, one drawn evenly from the visible places of its sample: no hidden value leaks."""
        visible = ~mask.hidden if mask.valid is None else ~mask.hidden & mask.valid
        if tokens.offsets is None:
            order = visible.byte().argsort(dim=1, descending=True, stable=True)  # visible places first
            return order.gather(1, draws.integers(visible.sum(1, keepdim=True).expand_as(visible)))
        order = visible.nonzero().squeeze(1)  # sample by sample
        owner = tokens.owner  # [T]
        counts = owner[order].bincount(minlength=tokens.num_samples)  # [B]
        return order[(counts.cumsum(0) - counts)[owner] + draws.integers(counts[owner])]


class Encoder(Part):
    """Turns the tokens it is shown into codes. Nothing of a hidden value may reach its output."""

    width: int
    """D, the width of its codes."""
    num_layers: int
    """How many layers have codes of their own."""
    not_in_every_batch: ClassVar[tuple[str, ...]] = ()
    """Ends of names of weights that only batches of some kind use; they have a gradient of 0 in others."""

    @abstractmethod
    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """Codes of the tokens that ``mask`` shows; of all of them when it is None (inference).

        ``layer`` in [1, num_layers] asks for the output of that layer as it is; None: of the last one, normed. A joint
        encoder is given some of its parts, or all, and encodes those.
        """

    def one(self, name: str) -> Encoder | None:
        """What encodes a part alone: here this encoder, which all parts share; None: parts are encoded together."""
        return None if self.joint else self

    def only(self, names: abc.Sequence[str]) -> Encoder:
        """What encodes these parts of all that there are: this encoder, which is given no others."""
        return self

    def codes_of(self, tokens: Tokens, mask: Mask | None, layers: abc.Sequence[int | None]) -> list[Latent]:
        """Codes of several layers, each as `forward` has them. Encoders that make them all in one pass override it.

        Layer 0 are the tokens as they enter the first one, where an encoder tells them.
        """
        return [self(tokens, mask) if layer is None else self(tokens, mask, layer) for layer in layers]

    def attention(self, tokens: Tokens, layer: int | None = None) -> Tensor:
        """How much each token attends to each other in a layer, with nothing hidden: ``[B, heads, P + N, P + N]``.

        P prefix tokens go first. ``layer`` as in `forward`; None: the last one.

        Raises:
            ValueError: this encoder does not tell.
        """
        raise ValueError(f"{type(self).__name__} does not tell its attention; nearest: vision.vit.")

    def refit(self, name: str, tensor: Tensor) -> Tensor | None:
        """A table of positions from weights for another grid, made to fit ``state_dict()[name]``; None: it is none.

        Import calls it where the user asks for it, and reports it.
        """
        return None

    def depth(self, layer: int | None) -> int:
        """How many layers `forward` runs to answer for ``layer``."""
        if layer is not None and not 1 <= layer <= self.num_layers:
            raise ValueError(f"`layer` must be in [1, {self.num_layers}], the encoder's layers, but is {layer}.")
        return layer or self.num_layers

    def program(self, tokens: Tokens, pool: str | None) -> Any:
        """How codes are computed from dense inputs, an `unmask.api.Program`, where tokens are packed or no tensors.

        None, as here: programs (``onnx``, ``torch-export``) are traced from the batch on, which must then be dense.

        Args:
            tokens: of some samples.
            pool: as in `Latent.pool`; None: all codes.
        """
        return None


class Predictor(Part):
    """Answers at the asked places, from codes and from where things lie, never from hidden values."""

    @abstractmethod
    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        """Answers at ``mask.asked``; ``places`` are the tokens without their values."""


class Target(Part):
    """What should be predicted, fixed before encoding and without gradient, unless it is learned."""

    learned: ClassVar[bool] = False
    """Whether the answers are trained with the encoder: then they are made after its codes, with gradient."""

    @abstractmethod
    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        """The right answers in the order of ``mask.asked``: ``[B, M, T]``, or class ids ``[B, M]``.

        Args:
            tokens: with their clean values.
            mask: where answers are asked.
            given: the raw batch, what the encoder is shown and, for a learned target, its codes.
        """

    def restore(self, prediction: Prediction, tokens: Tokens, mask: Mask) -> Tensor | None:
        """Predicted token values ``[B, M, V]``, for pictures; None when answers are not values."""
        return None


class Loss(Part):
    """Compares answers with targets: the mean over all asked places of the batch, or their sum with weights given."""

    @abstractmethod
    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """One number per asked place: ``[B, M]``.

        Args:
            prediction: ``[B, M, T]``, or in groups ``[B, G, M, T]``.
            target: ``[B, M, T]`` likewise, or class ids ``[B, M]``.
            valid: ``[B, M]`` bool, False where a short row was filled up; None: all are real.
        """

    def forward(self, prediction: Prediction, target: Tensor, given: Given | None = None) -> LossValue:
        """The mean over asked places, or the sum weighted by ``prediction.weights``.

        ``given`` is what the target was given, for losses that read or draw.
        """
        self.check(prediction, target)
        valid = prediction.asked.valid
        return self.averaged(self.per_token(prediction.values, target, valid), valid, prediction.weights)

    def check(self, prediction: Prediction, target: Tensor) -> None:
        """Refuses answers of another width than the target's.

        Raises:
            ValueError: they are.
        """
        if target.shape not in (prediction.values.shape, prediction.values.shape[:-1]):
            raise ValueError(
                f"`target_width` of the predictor must be {target.shape[-1]}, the width of the target "
                f"{tuple(target.shape)}, but its answers are {tuple(prediction.values.shape)}."
            )

    def averaged(self, per_token: Tensor, valid: Tensor | None, weights: Tensor | None = None) -> LossValue:
        """The mean over real asked places of one number for each ``[B, M]``, or their sum with these weights."""
        if valid is not None:
            per_token = per_token.masked_fill(~valid, 0)
        if weights is not None:
            return LossValue((per_token * weights).sum(), per_token.detach())
        if valid is None and per_token.numel():
            return LossValue(per_token.mean(), per_token.detach())
        if valid is None:  # no sample of the batch is asked anything
            return LossValue(per_token.sum(), per_token.detach())
        return LossValue(per_token.sum() / valid.sum().clamp(min=1), per_token.detach())


def check_weight(weight: float | Schedule) -> None:
    """Refuses a weight below 0."""
    if not isinstance(weight, Schedule) and not weight >= 0:
        raise ValueError(f"`weight` must be at least 0, but is {weight}.")


class Term(Part):
    """One more summand of the loss, made of the finished step: of its codes, answers or masks.

    Any method takes terms: ``loss = loss of the answers + sum of weight * term``.

    Args:
        weight: of this summand, at least 0, or a schedule of it.

    Raises:
        ValueError: a weight below 0.
    """

    def __init__(self, weight: float | Schedule = 1.0) -> None:
        super().__init__()
        check_weight(weight)
        self.weight = weight

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
