"""What all devices have of a batch, for losses that compare samples with each other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def of_all_devices(values: Tensor, always: bool = False) -> Tensor:
    """``[B, ...]`` of every device, in the order of ranks: ``[world * B, ...]``, with gradient; B is the same on all.

    The same values where there is one device, and where no gradient is asked for, since devices may then have other
    numbers of batches; unless ``always``. The gradient of each device's part is the sum over devices, so with the mean
    that DDP takes of gradients it is that of the loss over all samples.
    """
    alone = not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
    return values if alone or not (always or torch.is_grad_enabled()) else _Gathered.apply(values)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
