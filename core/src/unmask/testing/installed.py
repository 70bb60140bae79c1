"""Contracts of an installed plugin, with its components as its recipes put them together.

A recipe tells sizes and data, so each part that it builds is tried as it stands there, on the first batch of
its own data. What no recipe uses is tried with its defaults, where it has them; else it is said why not.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unmask import agreements
from unmask.cli.building import built
from unmask.masks import RandomMask
from unmask.model import MaskedModel
from unmask.parts import Loss, MaskSampler, Term
from unmask.plugins import registry
from unmask.plugins.registry import Component
from unmask.schedules import Spread, at
from unmask.structures import Grid, Layout, Sequence, Set, Tokens
from unmask.support.errors import UserError
from unmask.testing.agreements import AgreementContract
from unmask.testing.contract import Contract
from unmask.testing.data import DataContract
from unmask.testing.encoders import EncoderContract
from unmask.testing.losses import LossContract
from unmask.testing.masks import MaskContract
from unmask.testing.methods import MethodContract
from unmask.testing.predictors import PredictorContract
from unmask.testing.runs import RunContract
from unmask.testing.targets import TargetContract
from unmask.testing.terms import TermContract

_LAYOUTS: dict[type[Layout], list[Layout]] = {
    Set: [Set()],
    Sequence: [Sequence()],
    Grid: [Grid((4, 4)), Grid((5, 8)), Grid((2, 4, 4))],
}


class Plan(NamedTuple):
    """What is tried of a distribution, and what is not.

    Args:
        classes: contracts to run, each with a ``component``: its family and name.
        untried: components and, in words, why they are not tried.
        broken: those of them, recipes, that fail as they stand.
    """

    classes: dict[str, type[Contract]]
    untried: dict[Component, str]
    broken: list[Component]


@cache
def plan(distribution: str, commands: bool = False) -> Plan:
    """The contracts of what ``distribution`` registers; with ``commands`` also every command on each recipe."""
    mine = [c for c in registry.components() if c.distribution == distribution]
    classes: dict[str, type[Contract]] = {}
    untried: dict[Component, str] = {}
    broken: list[Component] = []

    def add(component: Component, contract: type[Contract], **members: Any) -> None:
        name = f"Test{len(classes)}{contract.__name__}"
        classes[name] = type(name, (contract,), {"component": component, **members})

    tried: set[Component] = set()
    pairs: list[tuple[MaskedModel, Any]] = []
    for recipe in (c for c in mine if c.group == registry.RECIPES):
        try:
            with torch.random.fork_rng():
                model, datamodule, read = _of(recipe)
        except (UserError, ValueError) as error:  # such as data that is not here
            untried[recipe] = str(error)
            continue
        try:
            with torch.random.fork_rng():
                agreements.check(copy.deepcopy(model), read, loaded=True)
                parts = _parts(model, datamodule, next(iter(read.train_dataloader())))
        except Exception as error:  # of anybody's parts, which may raise anything
            line = (str(error).strip().splitlines() or [""])[0]
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            untried[recipe] = f"a step fails: {kind}{line}"
            broken.append(recipe)
            continue
        pairs.append((model, datamodule))
        tried |= {one for one in (_component(model.tokenizer), _component(model.corruption)) if one}  # by the method's
        for component, contract, members in parts:
            if component in mine and component not in tried:
                tried.add(component)
                add(component, contract, **members)
        tried.add(recipe)
        if commands:
            add(recipe, RunContract, arguments=["--config", recipe.name])

    for component in mine:
        if component in tried or component in untried:
            continue
        if component.group == "unmask.masks":
            reason = _mask(component, add)
        elif component.group == "unmask.losses":
            reason = _loss(component, add)
        elif component.group == "unmask.terms":
            reason = _term(component, add)
        elif component.group == agreements.GROUP:
            reason = _agreement(component, pairs, add)
        elif component.group in ("unmask.commands", "unmask.schedules", "unmask.spreads"):
            continue  # their signature is all that is asked of them
        else:
            reason = "no recipe that can be built here uses it."
        if reason:
            untried[component] = reason
    return Plan(classes, untried, broken)


def _of(recipe: Component) -> tuple[MaskedModel, Any, Any]:
    """A recipe's model and data, and a copy of the data that has been read."""
    made = built("check", ["--config", recipe.name])
    assert made is not None
    model, datamodule = made
    read = copy.deepcopy(datamodule)
    read.setup("fit")
    return model, datamodule, read


def _parts(model: MaskedModel, datamodule: Any, batch: Any) -> list[tuple[Component | None, type[Contract], dict]]:
    """Component, contract and members of a test class, for each part of a run."""
    with torch.no_grad():
        tokens = model.tokenizer(batch)
        step = copy.deepcopy(model).eval().step(batch, 0)
        mask = model.mask
        if tokens.parts is not None:  # parts that know no joint tokens are tried on the first of them
            tokens, mask = next(iter(tokens.parts.values())), RandomMask(ratio=0.5)
        whole = None if model.encoder.joint else copy.deepcopy(model.encoder).eval()(tokens)
    if step.mask.parts is not None and step.tokens.parts is None:  # several masks of the same tokens
        mask = RandomMask(ratio=0.5)
    common = {"tokens": lambda self: tokens, "mask": lambda self: copy.deepcopy(mask)}
    corruptions = {"corruptions": [model.corruption]}

    def latent(self: Any, tokens: Tokens, mask: Any) -> Any:
        with torch.no_grad():
            return copy.deepcopy(model.encoder).eval()(tokens, mask)

    found: list[tuple[Component | None, type[Contract], dict]] = [
        (_component(model), MethodContract, {"make": _again(model), "batch": lambda self: batch}),
        (_component(datamodule), DataContract, {"make": _data(datamodule)}),
    ]
    if whole is not None:
        coarse = whole.values.shape[:-1] != tokens.values.shape[: whole.values.ndim - 1]
        members = {"make": _again(model.encoder), "coarse": coarse, **common, **corruptions}
        found.append((_component(model.encoder), EncoderContract, members))
    for asked in (model, *model.objectives.values()):
        predictor, target = asked.predictor, asked.target
        if predictor is not None and not predictor.joint and whole is not None and asked.ask == "hidden":
            members = {"make": _again(predictor), "latent": latent, **common, **corruptions}
            found.append((_component(predictor), PredictorContract, members))
        if target is not None and not target.joint:
            members = {"make": _again(target), "encoder": lambda self: copy.deepcopy(model.encoder), **common}
            members["given"] = lambda self: step.given
            found.append((_component(target), TargetContract, members))
    if model.loss is not None and isinstance(step.target, Tensor):
        ids = not step.target.is_floating_point()
        members = {"make": _again(model.loss), "classes": ids, "width": step.prediction.values.shape[-1]}
        found.append((_component(model.loss), LossContract, members))
    for term in model.terms.values():
        members = {
            "make": _again(term),
            "model": lambda self: copy.deepcopy(model),
            "step": lambda self: copy.deepcopy(model).eval().step(batch, 0),
        }
        found.append((_component(term), TermContract, members))
    return found


def _component(part: object) -> Component | None:
    path = f"{type(part).__module__}.{type(part).__qualname__}"
    return next((c for c in registry.components() if c.class_path == path), None)


def _again(part: torch.nn.Module) -> Callable[..., torch.nn.Module]:
    """A copy, its weights moved a little so that torch's seed tells copies apart."""

    def make(self: Any) -> torch.nn.Module:
        made = copy.deepcopy(part)
        with torch.no_grad():
            for parameter in made.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.01 * torch.randn_like(parameter))
        return made

    return make


def _data(datamodule: Any) -> Callable[..., Any]:
    def make(self: Any, **options: Any) -> Any:
        made = copy.deepcopy(datamodule)
        for name, value in options.items():
            setattr(made, name, value)
        return made

    return make


def _mask(component: Component, add: Callable[..., None]) -> str | None:
    """Adds the contract of a mask with its defaults, or says why it cannot be."""
    kind: type[MaskSampler] = component.load()
    if missing := _required(kind):
        return f"it needs {missing}; try it with MaskContract."
    own = [layout for layout in kind.layouts if layout not in _LAYOUTS]
    layouts = [layout for known in kind.layouts for layout in _LAYOUTS.get(known, [])]
    layouts = [x for x in layouts if not isinstance(x, Grid) or len(x.shape) in kind.grid_sides]
    if not layouts:
        return f"it works on a layout of its own ({own[0].__name__}); try it with MaskContract."
    refused = [x for several in _LAYOUTS.values() for x in several if x not in layouts]

    def expected(self: Any, sampler: MaskSampler, num_tokens: int, layout: Layout, progress: Any) -> int | None:
        assert not isinstance(sampler.ratio, Spread)
        ratio = None if sampler.ratio is None else at(sampler.ratio, progress)
        return sampler.count(num_tokens, layout, ratio) or None

    add(
        component,
        MaskContract,
        layouts=layouts,
        refused=refused,
        ragged=tuple({type(x) for x in layouts if _takes_padding(kind(), x)}),
        make=lambda self, **options: kind(**options),
        expected=expected,
    )
    return None


def _takes_padding(sampler: MaskSampler, layout: Layout) -> bool:
    """Whether samples may be shorter than others on every layout of that kind."""
    tokens = MaskContract._padded(type("Shape", (MaskContract,), {"num_tokens": 48})(), layout)
    try:
        sampler(tokens)
    except ValueError:
        return False
    return True


def _loss(component: Component, add: Callable[..., None]) -> str | None:
    """Adds the contract of a loss with its defaults, on values or on ids, or says why it cannot be."""
    kind: type[Loss] = component.load()
    if missing := _required(kind):
        return f"it needs {missing}; try it with LossContract."
    values = torch.randn(2, 3, 8)
    for classes, target in ((False, torch.randn(2, 3, 8)), (True, torch.randint(8, (2, 3)))):
        try:
            fits = isinstance(kind().per_token(values, target, None), Tensor)
        except Exception:  # of any kind: it takes the other
            continue
        if fits:
            add(component, LossContract, make=lambda self: kind(), classes=classes)
            return None
    return "it takes neither values nor ids of classes; try it with LossContract."


def _term(component: Component, add: Callable[..., None]) -> str | None:
    """Adds the contract of a term that looks at no part of a model, with its defaults, or says why it cannot be."""
    kind: type[Term] = component.load()
    if missing := _required(kind):
        return f"it needs {missing}; try it with TermContract."
    try:
        kind().start(None)
    except Exception:  # of any kind: it asks the model for something
        return "it looks at the model, and no recipe that can be built here has it; try it with TermContract."
    add(component, TermContract, make=lambda self: kind())
    return None


def _agreement(component: Component, pairs: list[tuple[MaskedModel, Any]], add: Callable[..., None]) -> str | None:
    """Adds the contract of an agreement, on a recipe's model and data, which agree; or says why it cannot be."""
    if not pairs:
        return "no recipe that can be built here has a model and data; try it with AgreementContract."
    add(
        component,
        AgreementContract,
        make=lambda self: component.load()(),
        agreeing=lambda self: copy.deepcopy(pairs[0]),
        differing=lambda self: None,
    )
    return None


def _required(kind: type) -> str | None:
    """Arguments without a default, in words."""
    needed = [
        name
        for name, given in inspect.signature(kind).parameters.items()
        if given.default is given.empty and given.kind not in (given.VAR_POSITIONAL, given.VAR_KEYWORD)
    ]
    return ", ".join(f"`{name}`" for name in needed) or None
