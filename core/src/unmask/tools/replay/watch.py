"""Which module was the first to make something that is not finite, forwards or backwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Found(NamedTuple):
    """Where it began.

    Args:
        module: its dotted name; empty: the model itself, between its modules.
        kind: its class.
        what: ``output``, ``gradient``, or ``input``: it was not finite before, by what the module itself does.
        values: how many of its values are not finite, in words.
        inputs: ranges of what it was given, in words.
        parameter: whose gradient it is, or which of its own is not finite; None: none.
    """

    module: str
    kind: str
    what: str
    values: str
    inputs: list[str]
    parameter: str | None = None


class Watch:
    """Notes the first module whose output, and then the first whose gradient, is not finite.

    A module inside another ends before it, so the innermost is found. A gradient that is finite at a module's output
    and not at its input, or at a parameter, was made by that module.
    """

    def __init__(self, model: nn.Module) -> None:
        self.forward: Found | None = None
        self.backward: Found | None = None
        self._model = model
        self._names = {id(module): name for name, module in model.named_modules()}
        self._within: list[nn.Module] = []
        self.origin: str | None = None  # the module that made such a value between its modules, where one did
        self._given: dict[int, list[tuple[str, nn.Module]]] = {}  # modules that a tensor is an input of, by tensor
        self._made: dict[int, tuple[str, nn.Module]] = {}  # the one whose output it is
        self._kept: list[Tensor] = []  # so that their ids stay theirs
        self._inputs: dict[str, list[str]] = {}

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """Watches the forward passes of a block, and what backward passes follow it."""
        handles = []
        for module in self._model.modules():
            if module is not self._model:
                handles.append(module.register_forward_pre_hook(self._before, with_kwargs=True))
                handles.append(module.register_forward_hook(self._after, with_kwargs=True))
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad:
                outer = name.rpartition(".")[0]
                owner = outer, self._model.get_submodule(outer)
                handles.append(parameter.register_hook(lambda g, n=name, o=owner: self._of_parameter(g, n, o)))
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()
            self._kept.clear()

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if self.origin is None and self.forward is None and any(_odd(one) for one in tensors((args, kwargs))):
            self.origin = self._name(self._within[-1]) if self._within else ""
        self._within.append(module)

    def _after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._within and self._within[-1] is module:
            self._within.pop()
        name, given, made = self._name(module), tensors((args, kwargs)), tensors(output)
        self._inputs[name] = [ranged(one) for one in given if one.is_floating_point()]
        odd = [one for one in made if _odd(one)]
        if odd and self.forward is None:
            own = next((n for n, p in module.named_parameters() if _odd(p)), None)
            what = "output" if not any(_odd(one) for one in given) else "input"
            self.forward = Found(name, type(module).__name__, what, counted(odd[0]), self._inputs[name], own)
        for one in given:
            if one.requires_grad:
                self._follow(one).append((name, module))
        for one in made:
            if one.requires_grad and id(one) not in self._made:
                self._follow(one)
                self._made[id(one)] = (name, module)

    def _follow(self, tensor: Tensor) -> list[tuple[str, nn.Module]]:
        if id(tensor) not in self._given:
            self._given[id(tensor)] = []
            self._kept.append(tensor)
            tensor.register_hook(lambda gradient, key=id(tensor): self._of_tensor(gradient, key))
        return self._given[id(tensor)]

    def _of_tensor(self, gradient: Tensor, key: int) -> None:
        if self.backward is not None or not _odd(gradient):
            return
        given = sorted(self._given[key], key=lambda one: one[0].count("."))
        if given:  # the innermost that it is an input of
            self._note(*given[-1], gradient, None)
        elif key in self._made:  # what is done with it outside of any module
            name, _ = self._made[key]
            outer = name.rpartition(".")[0]
            self._note(outer, self._model.get_submodule(outer), gradient, None)

    def _of_parameter(self, gradient: Tensor, parameter: str, owner: tuple[str, nn.Module]) -> None:
        if not _odd(gradient):
            return
        if self.backward is None:
            self._note(*owner, gradient, parameter)
        elif self.backward.parameter is None:
            self.backward = self.backward._replace(parameter=parameter)

    def _note(self, name: str, module: nn.Module, gradient: Tensor, parameter: str | None) -> None:
        inputs = self._inputs.get(name, [])
        self.backward = Found(name, type(module).__name__, "gradient", counted(gradient), inputs, parameter)

    def _name(self, module: nn.Module) -> str:
        return self._names.get(id(module), type(module).__name__)


def tensors(value: Any) -> list[Tensor]:
    """All tensors of what modules hand to each other."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [one for inner in value.values() for one in tensors(inner)]
    if isinstance(value, list | tuple):
        return [one for inner in value for one in tensors(inner)]
    if is_dataclass(value) and not isinstance(value, type):
        return [one for field in fields(value) for one in tensors(getattr(value, field.name))]
    return []


def counted(tensor: Tensor) -> str:
    """How many values are not finite, and of which kind."""
    kinds = {"NaN": tensor.isnan(), "infinite": tensor.isinf()}
    told = [f"{int(where.sum()):,} {kind}" for kind, where in kinds.items() if bool(where.any())]
    return f"{' and '.join(told)} of {tensor.numel():,} values"


def ranged(tensor: Tensor) -> str:
    """Type, shape and range of a tensor, and what of it is not finite."""
    shape = "x".join(map(str, tensor.shape)) or "one number"
    kind = f"{str(tensor.dtype).removeprefix('torch.')} {shape}"
    finite = tensor.detach()[tensor.detach().isfinite()]
    held = f"in [{float(finite.min()):.4g}, {float(finite.max()):.4g}]" if finite.numel() else "without a finite value"
    return f"{kind} {held}" + (f", {counted(tensor)}" if _odd(tensor) else "")


def _odd(tensor: Tensor) -> bool:
    """Whether a tensor holds NaN or infinity; one of zeros and minus infinity alone is a mask of attention."""
    if not tensor.is_floating_point() or bool((finite := tensor.detach().isfinite()).all()):
        return False
    values = tensor.detach()
    return not bool((values[finite] == 0).all() & (values[~finite] == -torch.inf).all()) or bool(values.isnan().any())
