"""Objectives: several things asked of one encoding, each at its own places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from unmask.joint import answered, compared, wanted
from unmask.parts import Loss, Part, Predictor, Target, check_weight
from unmask.schedules import Schedule
from unmask.step import Answer, Given
from unmask.structures import Latent, Mask, Tokens
from unmask.support.checks import inside


class Objective(Part):
    """One more thing asked of the same codes: where, of whom, what is right there, and how far off an answer is.

    ``loss = loss of the model's own predictor and target + sum of weight * objective``

    Args:
        ask: where answers are asked: ``hidden`` places (or where the mask says), the ``first`` hidden one of each
            sample, ``visible`` ones, ``all``, one answer per ``sample``, or a share of the hidden ones in (0, 1).
        predictor: answers; None: the model's own.
        target: the right answers; None: the model's own.
        loss: compares the two; None: the model's own.
        weight: of this summand, at least 0, or a schedule of it.
        layer: of the encoder whose codes the predictor reads, in [1, num_layers]; None: the last one's, normed.
        part: of joint tokens, the one that is asked; None: all.

    Raises:
        ValueError: an unknown place to ask at, a share outside (0, 1), or a weight below 0; when called, a part that is
            not there.
    """

    def __init__(
        self,
        ask: str | float = "hidden",
        predictor: Predictor | None = None,
        target: Target | None = None,
        loss: Loss | None = None,
        weight: float | Schedule = 1.0,
        layer: int | None = None,
        part: str | None = None,
    ) -> None:
        super().__init__()
        check_ask(ask)
        check_weight(weight)
        self.ask, self.weight = ask, weight
        self.part = part
        self.predictor, self.target, self.loss = predictor, target, loss
        self.layer = layer

    @property
    def reads(self) -> Sequence[int]:  # type: ignore[override]
        """Its own layer, and those of its predictor."""
        own = () if self.layer is None else (self.layer,)
        return (*own, *(self.predictor.reads if self.predictor is not None else ()))

    def forward(self, *args: Any) -> Any:
        """Not called: `MaskedModel.step` calls the parts."""
        raise NotImplementedError


class Question(NamedTuple):
    """What one objective asks in one step: where, of whom, what is right there, and how far off an answer is."""

    mask: Mask
    predictor: Predictor
    target: Target
    loss: Loss
    layer: int | None = None

    def fixed(self, tokens: Tokens, given: Given) -> Any:
        """The right answers, which nothing of the codes enters; None where they are learned with the codes."""
        return None if self.target.learned else wanted(self.target, tokens, self.mask, given)

    def answered(self, latent: Latent, tokens: Tokens, given: Given, right: Any) -> Answer:
        """Answers from codes and places alone, and how far they are from the right ones."""
        prediction = answered(self.predictor, latent.codes.layer(self.layer), tokens.places, self.mask)  # [B, M, T]
        if right is None:
            given = given._replace(latent=latent)
            right = wanted(self.target, tokens, self.mask, given)
        loss = compared(self.loss, prediction, right, given)
        return Answer(self.mask, prediction, right.detach() if isinstance(right, torch.Tensor) else right, loss)


ASKS = ("hidden", "first", "visible", "all", "sample")
"""Where answers may be asked, besides at a share of the hidden places."""


def check_ask(ask: str | float) -> None:
    """Refuses what names no places."""
    if isinstance(ask, str) and ask not in ASKS:
        raise ValueError(f"`ask` must be one of {', '.join(ASKS)} or a share in (0, 1), but is {ask!r}.")
    if not isinstance(ask, str):
        inside("(0, 1)", ask=ask)


def check_asked(mask: Mask, sampler: Any, ask: str | float) -> Mask:
    """The mask, where it asks for any answer as far as is known without counting.

    Raises:
        ValueError: it does not.
    """
    if not mask.asks:
        verb, where = ("show", "visible") if ask == "visible" else ("hide", "hidden")
        raise ValueError(
            f"`mask` must {verb} something, for answers are asked at {where} places, but {type(sampler).__name__} "
            f"{verb}s nothing; nearest: random."
        )
    return mask


def check_visible(mask: Mask, sampler: Any) -> Mask:
    """The mask that a corruption has made, where the encoder is given anything, as far as is known without counting.

    Raises:
        ValueError: every place is hidden, and hidden ones are dropped.
    """
    if all(map(_leaves_nothing, [mask] if mask.parts is None else mask.parts.values())):
        raise ValueError(
            "`mask` must leave something visible to a corruption that drops hidden places, but "
            f"{type(sampler).__name__} hides all; nearest: random, or a corruption that shows something of them."
        )
    return mask


def _leaves_nothing(mask: Mask) -> bool:
    whole = mask.show is None and mask.valid is None and mask.hidden.ndim == 2
    return whole and mask.num_hidden == mask.hidden.shape[1]


def asking(mask: Mask, ask: str | float, name: str = "", only: str | None = None) -> Mask:
    """The mask with the places where answers are asked, and with streams of random numbers of that name.

    A joint mask has those of each part, or of one ``only``.
    """
    if only is not None:
        if mask.parts is None or only not in mask.parts:
            have = ", ".join(mask.parts or ()) or "no parts"
            raise ValueError(f"`part` must be one of the tokens' parts, {have}, but is {only!r}.")
        whole = asking(mask, ask, name)
        assert whole.parts is not None
        return replace(whole, parts={one: part if one == only else _silent(part) for one, part in whole.parts.items()})
    if mask.draws is not None and name:
        mask = replace(mask, draws=mask.draws.named(name))
    if mask.parts is not None:
        return replace(mask, parts={part: asking(own, ask, name) for part, own in mask.parts.items()})
    if ask == "hidden":
        return mask
    real = torch.ones_like(mask.hidden) if mask.valid is None else mask.valid
    known = mask.num_hidden if mask.valid is None and mask.hidden.ndim == 2 else None
    if ask == "all":
        return replace(mask, predict=real, num_predict=None if known is None else mask.hidden.shape[1])
    if ask == "visible":
        return replace(
            mask, predict=~mask.hidden & real, num_predict=None if known is None else mask.hidden.shape[1] - known
        )
    if ask in ("sample", "first"):
        if mask.hidden.ndim == 1:
            raise ValueError(f"`ask` must not be {ask!r} for packed tokens; use a dense batch.")
        among = real if ask == "sample" else mask.hidden
        one: int | None = 0 if known == 0 and ask == "first" else 1
        if ask == "sample" and mask.valid is not None:  # one that lacks this part has no place to ask at
            one = None
        return replace(mask, predict=among & (among.cumsum(1) == 1), num_predict=one)
    if mask.hidden.ndim == 1:
        raise ValueError(f"`ask` must be one of {', '.join(ASKS)} for packed tokens, but is {ask}.")
    counts = mask.hidden.sum(1)
    count = torch.clamp((counts * float(ask)).round().long(), min=1)
    keys = mask.streams().named("ask").uniform(mask.hidden.shape[1]).masked_fill(~mask.hidden, 2)
    chosen = keys.argsort(dim=1).argsort(dim=1) < count[:, None]
    return replace(mask, predict=chosen, num_predict=None if known is None else max(round(known * float(ask)), 1))


def _silent(mask: Mask) -> Mask:
    """The mask without a question."""
    return replace(mask, predict=torch.zeros_like(mask.hidden), num_predict=0)
