"""``torch.compile`` of a model's parts in place: no weight gets another name, and copies of parts are compiled too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import nn

from unmask.parts import Encoder, Predictor
from unmask.support.errors import UserError
from unmask.training.blocks import rows_of
from unmask.training.in_place import instead

How = Literal["regional", "whole"]
Backend = Literal["inductor", "aot_eager", "eager"]
BACKENDS: tuple[str, ...] = get_args(Backend)


class Compiled(NamedTuple):
    """What was compiled.

    Args:
        parts: names of parts, each with what it holds: ``{"encoder.vit.blocks": "12 Block"}``.
        left: likewise, parts that cannot be compiled, which run as they are.
        frames: the names under which torch knows the code of each part.
    """

    parts: dict[str, str]
    left: dict[str, str]
    frames: dict[str, str]


def compile_parts(model: nn.Module, how: How = "regional", backend: Backend = "inductor") -> Compiled:
    """From here on, parts of ``model`` run as `torch.compile` makes them, each compiled when it is first called.

    What is trained is compiled for training alone: validation and pictures run it as it is, so that nothing is compiled
    for their sake. Teachers are compiled as well. Shapes that change are compiled twice, the second time for any size.

    Args:
        model: a network, or a whole model. A module whose class says ``compilable = False`` is left as it is.
        how: ``regional``: the blocks, of which those in one row share code, so that a deep network takes no longer to
            start than a shallow one; ``whole``: each encoder and each predictor as one.
        backend: of `torch.compile`: ``inductor`` needs a C++ compiler, or Triton on a GPU; ``aot_eager`` and ``eager``
            need none, and are no quicker than the model as it is: they are for finding out what breaks.

    Raises:
        ValueError: another ``how`` or ``backend``, or nothing that can be compiled.
    """
    if how not in get_args(How):
        raise ValueError(f"`compile` must be false, true, 'regional' or 'whole', but is {how!r}.")
    if backend not in BACKENDS:
        raise ValueError(f"`compile_backend` must be one of {', '.join(BACKENDS)}, but is {backend!r}.")
    found = Compiled({}, {}, {})
    for number, (name, modules) in enumerate(_parts(model, how)):
        kind = type(modules[0])
        what = f"{len(modules)} {kind.__name__}" if how == "regional" else kind.__name__
        if not all(getattr(inner, "compilable", True) for one in modules for inner in one.modules()):
            found.left[name] = what
            continue
        frame = f"part_{number}_{name.replace('.', '_')}"
        compiled: Any = torch.compile(_own_code(kind.forward, frame), backend=backend)
        always = not any(p.requires_grad for one in modules for p in one.parameters())
        for one in modules:
            instead(one, _forward, compiled, always)
        found.parts[name], found.frames[frame] = what, name
    if not found.parts:
        why = "whose parts cannot be compiled" if found.left else "which has no repeated layers; nearest: 'whole'"
        raise ValueError(f"`compile` must be false for {type(model).__name__}, {why}.")
    return found


def check_backend(backend: str, device: torch.device) -> None:
    """Compiles a sum.

    Raises:
        UserError: torch cannot, as it finds no compiler.
    """
    if backend != "inductor":
        return
    try:
        torch.compile(_sum, backend=backend)(torch.ones(8, device=device))
    except Exception as error:
        said = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        needed = "a C++ compiler" if device.type == "cpu" else "Triton"
        raise UserError(
            f"`compile_backend` 'inductor' needs {needed} that works, but torch says: {said[0][:200]}; nearest: "
            "install one, or `--compile_backend aot_eager`, which needs none and is no quicker than no `--compile`."
        ) from error


def _sum(x: torch.Tensor) -> torch.Tensor:
    return x + x


def _parts(model: nn.Module, how: How) -> Iterator[tuple[str, list[nn.Module]]]:
    """What shares code, by name."""
    if how == "regional":
        yield from rows_of(model).items()
        yield from rows_of(model, frozen=True).items()
        return
    outer: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, Encoder | Predictor) and not any(name.startswith(f"{one}.") for one in outer):
            outer.append(name)
            yield name, [module]


def _own_code(forward: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A copy of a function, for torch counts what it compiled, and learns which sizes change, by a function's code.

    So two rows of one class with other shapes, or two classes that inherit one function, do not disturb each other.
    """
    if not isinstance(forward, FunctionType):
        return forward
    own = FunctionType(
        forward.__code__.replace(co_name=name), forward.__globals__, name, forward.__defaults__, forward.__closure__
    )
    own.__kwdefaults__ = forward.__kwdefaults__
    return own


def _forward(compiled: Any, always: bool, plain: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    if always or torch.is_grad_enabled():
        return compiled(module, *args, **kwargs)
    return plain(*args, **kwargs)
