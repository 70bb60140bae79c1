"""Methods as descriptions: a paper's defaults for the parts of the step, declared as keyword-only fields.

A method names its options and what its paper chooses; the arguments that all methods share are declared here, once.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_type_hints

from unmask.model import MaskedModel
from unmask.objectives import Objective
from unmask.optim import Optimization
from unmask.parts import Corruption, Encoder, Loss, MaskSampler, Predictor, Target, Term, Tokenizer
from unmask.support.nearest import nearest
from unmask.support.remembered import as_config

Value = TypeVar("Value")
ASKED = ("predictor", "target", "loss")
"""Parts that a method lacks which predicts nothing."""
MADE: Any = None
"""The default of a part that `Method.complete` makes where it is not given."""


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
class Method(MaskedModel):
    """What the methods share: six parts and an optimisation, any of which a user may replace.

    A subclass is a keyword-only dataclass: its annotated names with their defaults are its arguments, and
    ``field(init=False)`` is a part that nobody may replace. Until `complete` has returned, an instance holds what was
    given, as plain attributes; then the model is made of it. A subclass with modules of its own makes them in
    ``__post_init__``, after that of its parent.

    Args:
        tokenizer: cuts a batch into tokens; None: as `complete` makes it.
        mask: chooses what is hidden.
        encoder: makes codes of what it is shown; None: as `complete` makes it, of the sizes that are given.
        predictor: answers at the asked places; None: as `complete` makes it.
        target: the right answers.
        loss: compares the two.
        corruption: how hidden places are shown to the encoder.
        objectives: what else is asked of the codes, by the names that they are logged under.
        terms: further summands of the loss, by their names likewise.
        optim: optimiser and schedules.

    Raises:
        ValueError: one of ``encoder_options`` beside an ``encoder``, which has its own.
    """

    encoder_options: ClassVar[tuple[str, ...]] = ("size",)
    """Options that describe the encoder; they are refused beside one that is given."""

    tokenizer: Tokenizer = MADE
    mask: MaskSampler
    encoder: Encoder = MADE
    predictor: Predictor = MADE
    target: Target
    loss: Loss
    corruption: Corruption = Corruption(drop=1)
    objectives: dict[str, Objective] = field(default_factory=dict)
    terms: dict[str, Term] = field(default_factory=dict)
    optim: Optimization = Optimization()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _describe(cls)

    def complete(self) -> None:
        """Sets the parts that were not given: ``self.encoder = self.encoder or ...``."""

    def __post_init__(self) -> None:
        if getattr(self, "encoder", None) is not None:
            left_to("encoder", **{name: getattr(self, name, None) for name in self.encoder_options})
        self.complete()
        parts: dict[str, Any] = {name: getattr(self, name, None) for name in _SHARED}
        needed = [name for name in parts if name not in ASKED or any(parts[asked] is not None for asked in ASKED)]
        if missing := [f"`{name}`" for name in needed if parts[name] is None]:
            raise TypeError(f"`{type(self).__name__}.complete` must make {' and '.join(missing)}.")
        super().__init__(**parts)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_modules" in self.__dict__:
            super().__setattr__(name, value)
        else:  # still a description: torch takes no parts before the model is made
            object.__setattr__(self, name, value)


def left_to(part: str, **given: Any) -> None:
    """Refuses options beside a ``part`` that has its own.

    Raises:
        ValueError: one that is not None.
    """
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"`{name}` must be left out when `{part}` is given, which has its own, but is {value!r}; nearest: null."
            )


def chosen(option: str, name: str, known: Mapping[str, Value]) -> Value:
    """What a name stands for, such as a size.

    Raises:
        ValueError: an unknown name.
    """
    if name not in known:
        near = nearest(name, known, 1)
        hint = f"; nearest: {near[0]}" if near else ""
        raise ValueError(f"`{option}` must be one of {', '.join(known)}, but is {name!r}{hint}.")
    return known[name]


def _describe(cls: type) -> None:
    """Makes keyword arguments of a class's fields, its own before those that all methods share."""
    dataclass(kw_only=True, eq=False, repr=False)(cls)
    for one in fields(cls):
        if one.name in cls.__dict__:  # a default left there would hide the part of that name from torch
            delattr(cls, one.name)
    made, types = cls.__dict__["__init__"], get_type_hints(cls)
    me, *arguments = inspect.signature(made).parameters.values()
    arguments.sort(key=lambda one: one.name in _SHARED)
    # jsonargparse looks for types and defaults in the source of a constructor, and this one has none
    arguments = [one.replace(annotation=types[one.name], default=as_config(one.default)) for one in arguments]
    made.__signature__ = inspect.Signature([me, *arguments])


_SHARED = [name for name in Method.__annotations__ if name != "encoder_options"]
_describe(Method)
