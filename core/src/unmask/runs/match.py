"""Strict loading: what of a model found its weights, what did not, and no silence about either."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unmask.runs.weights import State
from unmask.support.errors import UserError

SHOWN = 3
"""How many names a sentence gives before it counts the rest."""


@dataclass(frozen=True)
class Match:
    """How given tensors fit a module's.

    Args:
        matched: names in both, of one shape.
        missing: names that the module has and that were not given.
        unexpected: names that were given and that the module has not.
        mismatched: name, shape given, shape of the module.
        sizes: values in each of the module's tensors.
        unheld: names of the module that the layout of the given tensors has no place for; they do not count.
    """

    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]]
    sizes: dict[str, int] = field(repr=False)
    unheld: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Whether every tensor found its like, on both sides."""
        return not (self.missing or self.unexpected or self.mismatched)

    @property
    def total(self) -> list[str]:
        """Names that count: all of the module's but those that the layout has no place for."""
        return [*self.matched, *self.missing, *(name for name, _, _ in self.mismatched)]

    @property
    def tensor_ratio(self) -> float:
        """Share of tensors that matched, in [0, 1]."""
        return len(self.matched) / max(len(self.total), 1)

    @property
    def value_ratio(self) -> float:
        """Share of their values, in [0, 1]."""
        return sum(map(self.sizes.__getitem__, self.matched)) / max(sum(map(self.sizes.__getitem__, self.total)), 1)

    @property
    def summary(self) -> str:
        """``48 of 50 tensors match (96.0%; 98.2% of the values)``."""
        return (
            f"{len(self.matched)} of {len(self.total)} tensors match ({_percent(self.tensor_ratio)}; "
            f"{_percent(self.value_ratio)} of the values)"
        )

    def differences(self, shown: int = SHOWN) -> list[str]:
        """One phrase for each way to differ, with the first names."""
        sized = [f"`{name}` is {_shape(theirs)}, here {_shape(own)}" for name, theirs, own in self.mismatched]
        phrases = {"of another size": sized, "missing": _ticked(self.missing), "unknown": _ticked(self.unexpected)}
        return [f"{len(names)} {what}: {_some(names, shown)}" for what, names in phrases.items() if names]

    def __str__(self) -> str:
        return "; ".join([self.summary, *self.differences()])


def compare(module: nn.Module, given: Mapping[str, Tensor], unheld: Collection[str] = ()) -> Match:
    """How ``given`` fits ``module.state_dict()``.

    Args:
        module: what would be loaded into.
        given: by the module's names.
        unheld: names of the module that need not be given.
    """
    own = module.state_dict()
    left = [name for name in own if name in unheld and name not in given]
    there = [name for name in own if name in given]
    equal = [name for name in there if own[name].shape == given[name].shape]
    return Match(
        matched=equal,
        missing=[name for name in own if name not in given and name not in left],
        unexpected=[name for name in given if name not in own],
        mismatched=[(n, tuple(given[n].shape), tuple(own[n].shape)) for n in there if n not in set(equal)],
        sizes={name: tensor.numel() for name, tensor in own.items()},
        unheld=left,
    )


def load(module: nn.Module, given: State, min_matched: float = 1.0, unheld: Collection[str] = ()) -> Match:
    """Load what fits, and say what did not; tensors that did not keep the values they have.

    Args:
        module: what to load into.
        given: by the module's names.
        min_matched: least share of the module's tensors that must match, in [0, 1].
        unheld: names of the module that the layout of ``given`` has no place for; they need not match.

    Raises:
        ValueError: less than that matches; nothing is loaded then.
    """
    found = compare(module, given, unheld)
    if found.tensor_ratio < min_matched:
        raise ValueError(f"only {found}.")
    module.load_state_dict({name: given[name] for name in found.matched}, strict=False)
    return found


def _percent(share: float) -> str:
    """Rounded down, so that 100% means all."""
    return f"{int(1000 * share) / 10:g}%"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _ticked(names: list[str]) -> list[str]:
    return [f"`{name}`" for name in names]


def _some(names: list[str], shown: int) -> str:
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def load_weights(module: nn.Module, state: dict[str, torch.Tensor], source: str, target: str) -> None:
    """Loads all weights of a file into a module that has exactly those, of the same shapes; else refuses.

    Args:
        module: what to load into.
        state: by parameter name.
        source: what the weights are called in a message.
        target: what the module is called in a message.

    Raises:
        UserError: tensors are missing, unknown, or of another shape.
    """
    must_fit(module, state, source, target)
    module.load_state_dict(state, strict=True)


def must_fit(module: nn.Module, state: dict[str, Any], source: str, target: str) -> None:
    """Refuses weights that are not exactly those of ``module``, as `load_weights` does."""
    given = {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
    found = compare(module, given)
    if not found.fits:
        raise UserError(f"The weights of {source} do not fit the model of {target}: {found}.")
