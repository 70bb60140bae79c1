"""What the stages of `MaskedModel.step` hand to each other: Tokens, Mask, Latent, Prediction.

Each of them may be joint: made of named parts, modalities or views of the same samples, each exactly what its own
plugin knows. What stands beside the parts is derived from them, where it can be: parts one after the other.

Letters used in shapes, here and everywhere: B batch, N tokens, K tokens the encoder sees,
M places where an answer is asked, G groups of such places, D width, V value width, T target width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Several
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unmask.draws import Draws


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


@dataclass(frozen=True)
class Joint(Layout):
    """Parts of a sample one after the other: their layouts, by name."""

    layouts: tuple[tuple[str, Layout], ...]


def _in_line(tensors: list[Any]) -> Any:
    """Tensors ``[B, N, ...]`` of several parts as one, or None where they do not fit together."""
    if any(one is None or one.ndim < 2 or one.shape[2:] != tensors[0].shape[2:] for one in tensors):
        return None
    return torch.cat(tensors, dim=1)


def _filled(parts: Mapping[str, Any], read: Callable[[Any], Tensor | None], like: Callable[[Any], Tensor]) -> Any:
    """What some dense parts have and others lack ``[B, N]``, all true where it lacks; None where none has it."""
    found = [read(part) for part in parts.values()]
    if all(one is None for one in found):
        return None
    return torch.cat(
        [
            torch.ones(like(part).shape[:2], dtype=torch.bool, device=like(part).device) if one is None else one
            for one, part in zip(found, parts.values(), strict=True)
        ],
        dim=1,
    )


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
        parts: tokens of each part by its name, where they are joint.
        notes: what else a batch tells of each token ``[B, N, ...]``, by name, such as the region that it belongs to:
            masks, targets and terms may read it, encoders and predictors do not. None in `places`.
    """

    values: Any
    layout: Layout
    positions: Tensor | None = None
    valid: Tensor | None = None
    offsets: Tensor | None = None
    parts: Mapping[str, Tokens] | None = None
    notes: Mapping[str, Tensor] | None = None

    @classmethod
    def join(cls, parts: Mapping[str, Tokens]) -> Tokens:
        """Tokens of several parts of the same samples. ``values`` and ``valid`` are those of all parts, if dense."""
        layout = Joint(tuple((name, part.layout) for name, part in parts.items()))
        dense = all(part.offsets is None for part in parts.values())
        values = _in_line([part.values for part in parts.values()]) if dense else None
        valid = _filled(parts, lambda part: part.valid, lambda part: part.values) if dense else None
        return cls(values, layout, valid=valid, parts=dict(parts))

    def part(self, name: str) -> Tokens:
        """The part of this name; tokens of one part are every part."""
        return self if self.parts is None else self.parts[name]

    @property
    def num_samples(self) -> int:
        """B."""
        if self.parts is not None:
            return next(iter(self.parts.values())).num_samples
        return len(self.values) if self.offsets is None else len(self.offsets) - 1

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        if self.parts is not None:
            return next(iter(self.parts.values())).device
        known = [one for one in (self.values, self.offsets, self.valid, self.positions) if one is not None]
        return known[0].device

    @property
    def num_tokens(self) -> int:
        """N, padding included; of packed tokens, that of the longest sample."""
        if self.offsets is not None:
            return int(self.offsets.diff().max())
        if self.parts is not None:
            return sum(part.num_tokens for part in self.parts.values())
        return self.valid.shape[1] if self.valid is not None else self.values.shape[1]

    @property
    def owner(self) -> Tensor:
        """Which sample each packed token belongs to: ``[T]`` int64."""
        assert self.offsets is not None
        lengths = self.offsets.diff()
        return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)

    @property
    def places(self) -> Tokens:
        """The same tokens without their values: all that a predictor may know of hidden ones."""
        parts = self.parts and {name: part.places for name, part in self.parts.items()}
        return replace(self, values=None, parts=parts, notes=None)


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
        if count is not None and chosen.device.type == "cpu":  # no device to wait for, and sorting takes longer
            return cls(chosen.nonzero()[:, -1].view(*chosen.shape[:-1], count))
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

    def repeated(self, times: int) -> Places:
        """The same places ``[B, K]`` once for each of several groups: ``[B, G, K]``."""
        index, valid = (one if one is None else one[:, None].expand(-1, times, -1) for one in (self.index, self.valid))
        return Places(index, valid)  # type: ignore[arg-type]

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


DROPPED, TOKEN, RANDOM, KEPT, FILLED = range(5)
"""How a hidden place is shown to the encoder: see `unmask.parts.Corruption`."""


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
        show: ``[B, N]`` of DROPPED, TOKEN, RANDOM, KEPT, FILLED at hidden places; None: all are dropped. Of FILLED ones
            the shown tokens have other values already.
        donor: ``[B, N]`` int64, what stands in where ``show`` is RANDOM: for tokens with values, those of this
            visible place of the same sample; for tokens that are ids, this id. None when nothing is.
        weight: ``[B, N]`` (packed ``[T]``) float32, how much the loss of each place counts: the total is then the
            weighted sum over asked places. None: the mean over them.
        draws: the samples' streams of random numbers, for whoever comes after the mask.
        parts: masks of each part by its name, where it is joint: of joint tokens, or several of the same tokens.
        num_dropped: hidden places per sample that are dropped where others are shown; None: all are, or none.
    """

    hidden: Tensor
    predict: Tensor | None = None
    valid: Tensor | None = None
    num_hidden: int | None = None
    num_predict: int | None = None
    show: Tensor | None = None
    donor: Tensor | None = None
    weight: Tensor | None = None
    draws: Draws | None = None
    parts: Mapping[str, Mask] | None = None
    num_dropped: int | None = None

    @classmethod
    def join(cls, parts: Mapping[str, Mask]) -> Mask:
        """Masks of several parts of the same samples. ``hidden`` and ``valid`` are those of all parts, if dense."""
        masks = list(parts.values())
        dense = all(mask.hidden.ndim == 2 for mask in masks)
        valid = _filled(parts, lambda mask: mask.valid, lambda mask: mask.hidden) if dense else None
        known = [mask.num_hidden for mask in masks]
        return cls(
            torch.cat([mask.hidden if dense else mask.hidden.flatten() for mask in masks], dim=1 if dense else 0),
            valid=valid,
            num_hidden=None if None in known or not dense else sum(known),  # type: ignore[arg-type]
            draws=masks[0].draws,
            parts=dict(parts),
        )

    def part(self, name: str) -> Mask:
        """The part of this name; a mask of one part is every part."""
        return self if self.parts is None else self.parts[name]

    @property
    def asks(self) -> bool:
        """Whether any answer is asked for, as far as is known without counting."""
        if self.parts is not None:
            return any(part.asks for part in self.parts.values())
        return (self.num_hidden if self.predict is None else self.num_predict) != 0

    def streams(self) -> Draws:
        """The samples' streams of random numbers; fresh ones where the mask was not drawn."""
        return self.draws or Draws.fresh(len(self.hidden), self.hidden.device)

    @property
    def complement(self) -> Mask:
        """The mask of the same samples that drops what this one shows, and shows what this one hides."""
        hidden = ~self.hidden if self.valid is None else ~self.hidden & self.valid
        count = None if self.num_hidden is None or self.valid is not None else hidden.shape[-1] - self.num_hidden
        return replace(self, hidden=hidden, num_hidden=count, show=None, donor=None, num_dropped=None)

    @cached_property
    def visible(self) -> Places:
        """Places that are not hidden (and not padding)."""
        chosen = ~self.hidden if self.valid is None else ~self.hidden & self.valid
        known = self.num_hidden is not None and self.valid is None
        return Places.of(chosen, chosen.shape[-1] - self.num_hidden if known else None)  # type: ignore[operator]

    @cached_property
    def asked(self) -> Places:
        """Places where an answer is asked; where that is none of any sample, rows of one place that is no real one."""
        chosen, known = (self.hidden, self.num_hidden) if self.predict is None else (self.predict, self.num_predict)
        places = Places.of(chosen, known)
        if known is None and chosen.ndim > 1 and not places.index.shape[-1]:
            index = chosen.new_zeros(*chosen.shape[:-1], 1, dtype=torch.long)
            return Places(index, torch.zeros_like(index, dtype=torch.bool))
        return places

    @cached_property
    def seen(self) -> Places | None:
        """Places that the encoder is given: the visible ones when the hidden are dropped, all but the dropped ones
        when some are, else None for all of them."""
        if self.show is None:
            return self.visible
        if self.num_dropped is None:
            return None
        kept = ~(self.hidden & (self.show == DROPPED))
        if self.valid is not None:
            return Places.of(kept & self.valid)
        return Places.of(kept, kept.shape[-1] - self.num_dropped)

    def at(self, places: Places) -> Mask:
        """What is hidden of these places, and how it is shown: ``[B, K]``."""
        show = None if self.show is None else places.gather(self.show)
        return Mask(places.gather(self.hidden), show=show, valid=places.valid, draws=self.draws)


@dataclass(frozen=True, eq=False)
class Latent:
    """What the encoder made of the places it saw.

    Args:
        values: ``[B, K, D]``, one code per place seen.
        seen: which places those are; None: all of them, in order (an encoder may make K fewer than N).
        prefix: ``[B, P, D]`` class and register tokens, class token first; None: the encoder has none. Of joint codes
            those that belong to no part.
        features: ``[B, N, C]`` what the encoder's stem made of all places before any was hidden; None: it has no stem.
        parts: codes of each part by its name, where they are joint.
        apart: whether parts have codes of spaces of their own, whose vectors stand side by side where they are pooled;
            else they are averaged.
        places: the tokens without their values, where an `Embedder` made the codes; None: not told.
        pyramid: ``[B, C, rows, columns]`` maps at several scales, the finest first, 0 where nothing was seen; None:
            the encoder has one scale.
        inner: codes of further layers by their numbers, where a part reads them (`Part.reads`); None: no part does.
    """

    values: Tensor
    seen: Places | None = None
    prefix: Tensor | None = None
    features: Tensor | None = None
    parts: Mapping[str, Latent] | None = None
    apart: bool = False
    places: Tokens | None = None
    pyramid: Several[Tensor] | None = None
    inner: Mapping[int, Latent] | None = None

    @classmethod
    def join(cls, parts: Mapping[str, Latent], apart: bool = False) -> Latent:
        """Codes of several parts of the same samples. ``values`` are those of all parts, if dense and of one width."""
        return cls(_in_line([part.values for part in parts.values()]), parts=dict(parts), apart=apart)

    @property
    def codes(self) -> Latent:
        """The same without the stem's features, which know of hidden values: all that a predictor may have."""
        parts = self.parts and {name: part.codes for name, part in self.parts.items()}
        if self.features is None and parts is None:
            return self
        inner = self.inner and {number: latent.codes for number, latent in self.inner.items()}
        return replace(self, features=None, parts=parts, inner=inner)

    def part(self, name: str) -> Latent:
        """The part of this name, with its codes of further layers; codes of one part are every part."""
        if self.parts is None:
            return self
        if self.inner is None:
            return self.parts[name]
        inner = {number: latent.part(name) for number, latent in self.inner.items()}
        return replace(self.parts[name], inner=inner)

    def layer(self, number: int | None) -> Latent:
        """Codes of a layer that a part says it ``reads``; None: these."""
        if number is None:
            return self
        if self.parts is not None and self.inner is None:
            return Latent.join({name: part.layer(number) for name, part in self.parts.items()}, self.apart)
        assert self.inner is not None, f"no part says that it reads layer {number}"
        return self.inner[number]

    def _there(self, places: Tokens | None) -> Tensor | None:
        """Which samples have anything of this part ``[B]``; None: all, as far as is known without looking."""
        if places is not None and places.offsets is not None:
            return None
        real = self.seen.valid if self.seen is not None else None if places is None else places.valid
        return None if real is None else real.any(1)

    def pool(self, how: str = "mean", places: Tokens | None = None) -> Tensor:
        """One vector per sample: ``mean`` or ``max`` over places, ``mean+max`` of both, or ``cls``.

        Args:
            how: the pooling.
            places: the tokens when all places were seen and some are padding, or when they are packed; None: those
                that the codes came with, if any.

        Returns:
            ``[B, D]``, or ``[B, 2 D]`` for ``mean+max``. Of parts the mean of theirs that a sample has, or those side
            by side with zeros for one that it lacks, see ``apart``.

        Raises:
            ValueError: an unknown pooling, or ``cls`` of an encoder that has no class token.
        """
        if how not in ("cls", "mean", "max", "mean+max"):
            raise ValueError(f"`pool` must be 'cls', 'mean', 'max' or 'mean+max', but is {how!r}.")
        places = self.places if places is None else places
        if self.parts is not None and (how != "cls" or self.prefix is None):  # every part counts as much
            each = [part.pool(how, places and places.part(name)) for name, part in self.parts.items()]
            there = [part._there(places and places.part(name)) for name, part in self.parts.items()]
            each = [
                one if own is None else one.masked_fill(~own[:, None], 0) for one, own in zip(each, there, strict=True)
            ]
            if self.apart:
                return torch.cat(each, dim=-1)
            if all(own is None for own in there):
                return torch.stack(each).mean(0)
            counts = sum(1 if own is None else own.to(each[0].dtype)[:, None] for own in there)
            return torch.stack(each).sum(0) / torch.as_tensor(counts).clamp(min=1)
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
        parts: answers of each part by its name, where they are joint; ``values`` and ``asked`` are then the first's.
        weights: ``[B, M]`` or ``[B, G, M]``, how much the loss of each answer counts; None: all count the same.
        latents: ``[B, M, D]`` codes of the asked places, by a predictor that regresses them before it answers, for
            terms to read; None: it does not.
    """

    values: Tensor
    asked: Places
    parts: Mapping[str, Prediction] | None = None
    weights: Tensor | None = None
    latents: Tensor | None = None

    @classmethod
    def join(cls, parts: Mapping[str, Prediction]) -> Prediction:
        """Answers of several parts of the same samples."""
        first = next(iter(parts.values()))
        return cls(first.values, first.asked, parts=dict(parts))

    def part(self, name: str) -> Prediction:
        """The part of this name; answers of one part are every part."""
        return self if self.parts is None else self.parts[name]
