"""What the stages of `MaskedModel.step` hand to each other: Tokens, Mask, Latent, Prediction.

Letters used in shapes, here and everywhere: B batch, N tokens, K tokens the encoder sees,
M places where an answer is asked, G groups of such places, D width, V value width, T target width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unmask.support.checks import inside


@dataclass(frozen=True)
class Layout:
    """How a sample's tokens lie to each other. Masks and positions read geometry from here."""


@dataclass(frozen=True)
class Set(Layout):
    """No order: only membership."""


@dataclass(frozen=True)
class Sequence(Layout):
    """In a line: token i is next to i - 1 and i + 1."""


@dataclass(frozen=True)
class Grid(Layout):
    """On a regular grid, row-major: ``shape`` is (rows, columns) or (depth, rows, columns)."""

    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Tokens:
    """What may be hidden, and where it lies.

    Two storage forms: dense, ``[B, N, ...]`` with ``valid`` for padding; or packed, ``[T, ...]``
    with ``offsets`` (sample i owns rows ``offsets[i]`` to ``offsets[i + 1]``), for ragged data.

    Args:
        values: ``[B, N, V]`` (or ids ``[B, N]``); packed ``[T, V]``. None in `places`.
        layout: how a sample's tokens lie to each other.
        positions: ``[B, N, P]`` coordinates where the layout alone does not tell them.
        valid: ``[B, N]`` bool, False at padding; None: all are real.
        offsets: ``[B + 1]`` int64 in the packed form, else None.
    """

    values: Any
    layout: Layout
    positions: Tensor | None = None
    valid: Tensor | None = None
    offsets: Tensor | None = None

    @property
    def num_samples(self) -> int:
        """B."""
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    @property
    def places(self) -> Tokens:
        """The same tokens without their values: all that a predictor may know of hidden ones."""
        return replace(self, values=None)


@dataclass(frozen=True, eq=False)
class Places:
    """Chosen places of each sample as indices, computed once and used for every gather.

    Args:
        index: ``[B, K]``, or ``[B, G, K]``, or ``[K]`` for packed tokens; ascending.
        valid: same shape, False where a short row was filled up (with index 0); None: no filling.
    """

    index: Tensor
    valid: Tensor | None = None

    @classmethod
    def of(cls, chosen: Tensor, count: int | None = None) -> Places:
        """The True places of ``chosen`` ``[B, N]``, ``[B, G, N]`` or, packed, ``[T]``.

        ``count`` is the number per row when it is known to be the same in all: it saves the wait
        for the device that finding the longest row costs.
        """
        if chosen.ndim == 1:
            return cls(chosen.nonzero().squeeze(1))
        order = chosen.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)
        if count is not None:
            return cls(order[..., :count])
        counts = chosen.sum(-1)
        longest = int(counts.max())
        index = order[..., :longest]
        valid = torch.arange(longest, device=chosen.device) < counts[..., None]
        if bool(valid.all()):
            return cls(index)
        return cls(index.masked_fill(~valid, 0), valid)

    def gather(self, values: Tensor) -> Tensor:
        """Values ``[B, N, ...]`` at the chosen places: ``[B, K, ...]`` or ``[B, G, K, ...]``."""
        if self.index.ndim == 1:
            return values[self.index]
        tail = values.shape[2:]
        flat = values.reshape(*values.shape[:2], -1)  # [B, N, F]
        index = self.index.flatten(1)  # [B, G * K]
        picked = flat.gather(1, index[..., None].expand(-1, -1, flat.shape[-1]))
        return picked.reshape(*self.index.shape, *tail)

    def scatter(self, values: Tensor, into: Tensor) -> Tensor:
        """A copy of ``into`` ``[B, N, D]`` with ``values`` ``[B, K, D]`` at the chosen places."""
        values = values.to(into.dtype)
        if self.index.ndim == 1:
            return into.index_copy(0, self.index, values)
        index = self.index
        if self.valid is not None:  # filled-up rows write to a spare last place, cut off below
            index = index.masked_fill(~self.valid, into.shape[1])
            into = torch.cat([into, into[:, :1]], dim=1)
        out = into.scatter(1, index[..., None].expand(-1, -1, into.shape[-1]), values)
        return out[:, :-1] if self.valid is not None else out


DROPPED, TOKEN, RANDOM, KEPT = range(4)
"""How a hidden place is shown to the encoder: see `Corruption`."""


@dataclass(frozen=True, eq=False)
class Mask:
    """What is hidden, how hidden places are shown to the encoder, and where answers are asked.

    Args:
        hidden: ``[B, N]`` (packed ``[T]``) bool, True = hidden. False at padding.
        predict: places where an answer is asked, ``[B, N]`` or in groups ``[B, G, N]`` bool;
            None: wherever hidden.
        valid: ``[B, N]`` bool, False at padding; None: all are real.
        num_hidden: hidden places per sample, when all samples have as many.
        num_predict: asked places per row of ``predict``, when all rows have as many.
        show: ``[B, N]`` of DROPPED, TOKEN, RANDOM, KEPT at hidden places; None: all are dropped.
        donor: ``[B, N]`` int64, what stands in where ``show`` is RANDOM: for tokens with values, those of this
            visible place of the same sample; for tokens that are ids, this id. None when nothing is.
    """

    hidden: Tensor
    predict: Tensor | None = None
    valid: Tensor | None = None
    num_hidden: int | None = None
    num_predict: int | None = None
    show: Tensor | None = None
    donor: Tensor | None = None

    @cached_property
    def visible(self) -> Places:
        """Places that are not hidden (and not padding)."""
        chosen = ~self.hidden if self.valid is None else ~self.hidden & self.valid
        known = self.num_hidden is not None and self.valid is None
        return Places.of(chosen, chosen.shape[-1] - self.num_hidden if known else None)  # type: ignore[operator]

    @cached_property
    def asked(self) -> Places:
        """Places where an answer is asked."""
        if self.predict is None:
            return Places.of(self.hidden, self.num_hidden)
        return Places.of(self.predict, self.num_predict)

    @cached_property
    def seen(self) -> Places | None:
        """Places that the encoder is given: the visible ones when the hidden are dropped, else
        None for all of them."""
        return self.visible if self.show is None else None


@dataclass(frozen=True)
class Corruption:
    """How hidden places are shown to the encoder, as shares that sum to 1.

    Either all are dropped (``drop=1``: the encoder never sees a trace, MAE), or each is
    independently replaced by the mask token, replaced by a visible place of its sample, or kept
    (BERT: ``Corruption(token=0.8, random=0.1, keep=0.1)``).

    Raises:
        ValueError: a share outside [0, 1], a sum other than 1, or ``drop`` other than 0 or 1.
    """

    drop: float = 0.0
    token: float = 0.0
    random: float = 0.0
    keep: float = 0.0

    def __post_init__(self) -> None:
        shares = {"drop": self.drop, "token": self.token, "random": self.random, "keep": self.keep}
        inside("[0, 1]", **shares)
        if abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"The shares must sum to 1, but {shares} sum to {sum(shares.values()):g}.")
        if self.drop not in (0, 1):
            raise ValueError(f"`drop` must be 0 or 1 (all hidden places or none), but is {self.drop}.")

    def __call__(self, mask: Mask, generator: torch.Generator | None = None) -> Mask:
        """The mask with ``show`` and ``donor`` filled in."""
        if self.drop:
            return mask
        if self.token == 1:
            return replace(mask, show=torch.full_like(mask.hidden, TOKEN, dtype=torch.int8))
        draw = torch.rand(mask.hidden.shape, generator=generator, device=mask.hidden.device)
        show = torch.full_like(mask.hidden, KEPT, dtype=torch.int8)
        show[draw < self.token + self.random] = RANDOM
        show[draw < self.token] = TOKEN
        return replace(mask, show=show, donor=self._donors(mask, generator) if self.random else None)

    @staticmethod
    def _donors(mask: Mask, generator: torch.Generator | None) -> Tensor:
        """For each place, one drawn evenly from the visible places of its sample: no hidden value leaks."""
        if mask.hidden.ndim == 1:
            raise ValueError("`random` must be 0 for packed tokens; use a dense batch.")
        visible = ~mask.hidden if mask.valid is None else ~mask.hidden & mask.valid
        return torch.multinomial(visible.float(), mask.hidden.shape[-1], replacement=True, generator=generator)


@dataclass(frozen=True, eq=False)
class Latent:
    """What the encoder made of the places it saw.

    Args:
        values: ``[B, K, D]``, one code per place seen.
        seen: which places those are; None: all of them, in order (an encoder may make K fewer than N).
        prefix: ``[B, P, D]`` class and register tokens, class token first; None: the encoder has none.
    """

    values: Tensor
    seen: Places | None = None
    prefix: Tensor | None = None

    def pool(self, how: str = "mean", places: Tokens | None = None) -> Tensor:
        """One vector per sample: ``mean`` or ``max`` over places, ``mean+max`` of both, or ``cls``.

        Args:
            how: the pooling.
            places: the tokens when all places were seen and some are padding, or when they are packed.

        Returns:
            ``[B, D]``, or ``[B, 2 D]`` for ``mean+max``.

        Raises:
            ValueError: an unknown pooling, or ``cls`` of an encoder that has no class token.
        """
        if how not in ("cls", "mean", "max", "mean+max"):
            raise ValueError(f"`pool` must be 'cls', 'mean', 'max' or 'mean+max', but is {how!r}.")
        if how == "cls":
            if self.prefix is None:
                raise ValueError(
                    "`pool` must be 'mean', 'max' or 'mean+max' here, but is 'cls': the encoder has no class token."
                )
            return self.prefix[:, 0]
        if how == "mean+max":
            return torch.cat([self.pool("mean", places), self.pool("max", places)], dim=-1)
        if places is not None and places.offsets is not None:
            return torch.segment_reduce(self.values, how, lengths=places.offsets.diff())
        padding = self.seen.valid if self.seen is not None else places.valid if places is not None else None
        if padding is None:
            return self.values.mean(1) if how == "mean" else self.values.amax(1)
        real = padding[..., None]  # [B, K, 1]
        if how == "max":
            return self.values.masked_fill(~real, float("-inf")).amax(1)
        return self.values.masked_fill(~real, 0).sum(1) / real.sum(1).clamp(min=1)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Answers at the asked places.

    Args:
        values: ``[B, M, T]`` or, in groups, ``[B, G, M, T]``, in the order of ``asked``.
        asked: which places those are.
    """

    values: Tensor
    asked: Places
