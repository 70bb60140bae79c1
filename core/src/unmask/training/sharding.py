"""A model that is shared out over processes: each holds a part of every weight, gradient and moment (torch's FSDP2).

The blocks of a network are gathered one after another as they are called; what lies outside of them once for a step.
Two kinds of weights stay whole on every process: single numbers, which cannot be cut, and those of parts that never
change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from unmask.frozen import Frozen
from unmask.parts import Part
from unmask.training.blocks import blocks_of

STEPS = ("training_step", "validation_step", "test_step", "predict_step")
"""Methods that Lightning calls in place of ``forward``: weights outside of blocks are gathered while they run."""


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Shards ``model`` in place over a one-dimensional mesh; a second call changes nothing.

    Before it, the weights of the first process are given to all others, so that there is one model to share out.

    Args:
        model: on the CPU or the device, with the same parameters on each process.
        mesh: the processes.
    """
    if is_sharded(model):
        return
    _first_ones(model)
    whole = set(stay_whole(model))
    for block in _blocks(model):
        fully_shard(block, mesh=mesh, ignored_params=whole & set(block.parameters()))
    fully_shard(model, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    for name in STEPS:
        register_fsdp_forward_method(model, name)


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` has been called on it."""
    return isinstance(model, FSDPModule)


def stay_whole(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that are not cut: single numbers, and those of parts that are neither trained nor updated.

    A fixed table within an encoder that is trained is cut, as it is in the teacher that follows the encoder.
    """
    follow: set[nn.Parameter] = set()
    home: dict[nn.Parameter, nn.Module] = {}  # the innermost part of each
    for part in model.modules():
        if isinstance(part, Part | Frozen):
            home |= dict.fromkeys(part.parameters(), part)
        if isinstance(part, Part) and type(part).update is not Part.update:
            follow |= set(part.parameters())
    trained = {part: any(p.requires_grad for p in part.parameters()) for part in {model, *home.values()}}
    fixed = (p for p in model.parameters() if not (p in follow or trained[home.get(p, model)]))
    return [*(p for p in model.parameters() if p.ndim == 0), *fixed]


@contextmanager
def gathered(*modules: nn.Module) -> Iterator[None]:
    """While it lasts, parts of sharded ``modules`` may be called by themselves, outside of a step, on all processes."""
    roots = [module for module in modules if isinstance(module, FSDPModule)]
    for root in roots:
        # The module whose forward runs first becomes the root of all. A part that is called before the first step
        # would become it, and torch has no public way to say which one it is.
        root._get_fsdp_state()._lazy_init()
        root.unshard()
    try:
        yield
    finally:
        for root in roots:
            root.reshard()


def average_whole(model: nn.Module) -> None:
    """Takes the mean over processes of gradients that are not cut, which FSDP2 leaves to each process.

    May be called after each accumulated batch: the mean of a mean and of what was added since is that of their sum.
    """
    if not is_sharded(model):
        return
    for parameter in model.parameters():
        if parameter.grad is not None and not isinstance(parameter.grad, DTensor):
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()


@torch.no_grad()
def share_buffers(model: nn.Module) -> None:
    """Gives all processes the first one's numbers that are saved but not trained, such as queues, as DDP does."""
    if not is_sharded(model):
        return
    for part in model.modules():
        for name, buffer in part.named_buffers(recurse=False):
            if name not in part._non_persistent_buffers_set:
                dist.broadcast(buffer, 0)


def total_norm(gradients: Iterable[Tensor]) -> Tensor:
    """The 2-norm of all gradients together, also where some are cut and some are not; the same on each process."""
    gradients = list(gradients)
    cut = [one for one in gradients if isinstance(one, DTensor)]
    if not cut:
        return torch.nn.utils.get_total_norm(gradients)
    norms = [torch.nn.utils.get_total_norm(cut).full_tensor()]  # type: ignore[attr-defined]
    if whole := [one for one in gradients if not isinstance(one, DTensor)]:
        norms.append(torch.nn.utils.get_total_norm(whole))
    return torch.stack(norms).norm()


def clip(model: nn.Module, limit: float, by: str) -> None:
    """Clips the gradients of a sharded model: ``norm`` of all of them together, or each ``value``."""
    parameters = [p for p in model.parameters() if p.grad is not None]
    if by == "value":
        torch.nn.utils.clip_grad_value_(parameters, limit, foreach=False)
        return
    scale = (limit / (total_norm(p.grad for p in parameters if p.grad is not None) + 1e-6)).clamp(max=1.0)
    for parameter in parameters:
        local = parameter.grad.to_local() if isinstance(parameter.grad, DTensor) else parameter.grad
        assert local is not None
        local.mul_(scale.to(local.device))


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Blocks, those of teachers too, that share no parameter with what lies outside of them."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    for parameter in frozen:  # a block of a teacher is one, too
        parameter.requires_grad_(True)
    blocks = blocks_of(model)
    for parameter in frozen:
        parameter.requires_grad_(False)

    uses: dict[nn.Parameter, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        uses[parameter] = uses.get(parameter, 0) + 1
    whole = set(stay_whole(model))
    found = []
    for block in blocks:
        own: dict[nn.Parameter, int] = {}
        for _, parameter in block.named_parameters(remove_duplicate=False):
            own[parameter] = own.get(parameter, 0) + 1
        if set(own) - whole and all(uses[parameter] == number for parameter, number in own.items()):
            found.append(block)
    return found


@torch.no_grad()
def _first_ones(model: nn.Module) -> None:
    """Gives all processes the weights of the first one, as DDP does."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if not tensor.is_meta:
            dist.broadcast(tensor.data, 0)
