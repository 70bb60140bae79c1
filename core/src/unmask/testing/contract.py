"""What all contracts share: a test of theirs that a subclass overrides must be named, with the reason."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from unmask import seeds
from unmask.draws import Draws
from unmask.masks import RandomMask
from unmask.parts import Corruption, MaskSampler
from unmask.schedules import Progress
from unmask.structures import KEPT, Mask, Sequence, Tokens
from unmask.support.nearest import nearest, quoted


class Contract:
    """Tests of one component. A subclass that redefines one of them says why, or cannot be defined::

        class TestMyMask(MaskContract):
            overrides = {"test_padding_is_never_chosen": "one row of places cannot lose any"}

            def test_padding_is_never_chosen(self): ...

    Raises:
        TypeError: when a subclass is defined that redefines a test (also by a mixin, or as None) which it does not
            name in ``overrides`` with a reason, or names one that it does not redefine.
    """

    overrides: ClassVar[Mapping[str, str]] = {}
    """Tests of the contract that this very class redefines, each with the reason."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        given = vars(cls).get("overrides", {})
        redefined = {name for name in dir(cls) if name.startswith("test") and _redefined_in(cls, name)}
        for name in sorted(redefined):
            if not any(str(vars(owner).get("overrides", {}).get(name, "")).strip() for owner in _answerable(cls, name)):
                raise TypeError(
                    f"{cls.__name__} overrides `{name}` of its contract; "
                    f'say why: overrides = {{"{name}": "the reason"}}, or give the test another name.'
                )
        for name in given:
            if name not in redefined:
                near = nearest(name, redefined)
                hint = f"; nearest: {quoted(near)}" if near else ""
                raise TypeError(f"`overrides` of {cls.__name__} names `{name}`, which it does not override{hint}.")


class PartContract(Contract):
    """Tests of a part that gets tokens and a mask."""

    @abstractmethod
    def tokens(self) -> Tokens:
        """At least two samples, of whatever form the part takes, the same in every call."""

    def mask(self) -> MaskSampler:
        """What hides places of `tokens`."""
        return RandomMask(ratio=0.5)


def masked(tokens: Tokens, sampler: Any, corruption: Corruption, seed: int = 0) -> Mask:
    """The mask of ``sampler`` for ``tokens``, with what ``corruption`` shows of it, from a seed."""
    return corruption(tokens, sampler(tokens, Progress(), streams(tokens, seed))).mask


def streams(tokens: Tokens, seed: int = 0) -> Draws:
    """Random numbers of the samples of ``tokens``, from a seed."""
    return Draws.of(seeds.mix("contract", seed), torch.arange(tokens.num_samples, device=tokens.device))


def shown_as(corruption: Corruption, mask: Mask, seed: int = 0, offsets: Tensor | None = None) -> Mask:
    """How ``corruption`` shows places of ``mask`` ``[B, N]``, or packed ``[T]`` (one sample without ``offsets``)."""
    if mask.hidden.ndim == 1 and offsets is None:
        offsets = torch.tensor([0, len(mask.hidden)])
    values = torch.zeros(*mask.hidden.shape, 1)
    tokens = Tokens(values, Sequence(), valid=mask.valid, offsets=offsets if mask.hidden.ndim == 1 else None)
    return corruption(tokens, replace(mask, draws=streams(tokens, seed))).mask


def disturbed(tokens: Tokens, places: Any) -> Tokens:
    """The same tokens with other values at ``places`` ``[B, N]`` (packed ``[T]``) bool, those of each part if joint."""
    if tokens.parts is not None:
        return Tokens.join({name: disturbed(part, places[name]) for name, part in tokens.parts.items()})
    values = tokens.values
    at = places.reshape(*places.shape, *[1] * (values.ndim - places.ndim))
    other = values * -3 + 7 if values.is_floating_point() else values.max() - values
    return replace(tokens, values=torch.where(at, other, values))


def unseen(mask: Mask) -> Any:
    """Hidden places of which nothing is shown, of each part if joint: all but those that a corruption keeps as they
    are."""
    if mask.parts is not None:
        return {name: unseen(part) for name, part in mask.parts.items()}
    return mask.hidden if mask.show is None else mask.hidden & (mask.show != KEPT)


def _answerable(cls: type, name: str) -> tuple[type, ...]:
    """Whose ``overrides`` may hold the reason: that of the class itself; for a mixin's test, whoever mixed it in."""
    return (cls,) if name in vars(cls) else cls.__mro__


def _redefined_in(cls: type, name: str) -> bool:
    """Whether ``cls`` itself, or a mixin that it brings, stands before a contract's own test of that name."""
    owners = [owner for owner in cls.__mro__ if name in vars(owner)]
    first, rest = owners[0], owners[1:]
    new = first is cls or not issubclass(first, Contract)
    return new and any(issubclass(owner, Contract) for owner in rest)
