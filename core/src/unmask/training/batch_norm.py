"""BatchNorm over several processes: its statistics are those of the whole batch, as on one process."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unmask.nn.gathered import of_all_devices
from unmask.support.errors import UserError


class BatchNormNote(L.Callback):
    """Says in one line whose statistics BatchNorm takes on several devices: all of them, or each its own.

    Raises:
        UserError: torch's own layers on a CPU, which it refuses.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size == 1:
            return
        norms = [part for part in pl_module.modules() if isinstance(part, _BatchNorm)]
        if trainer.strategy.root_device.type == "cpu" and any(isinstance(one, nn.SyncBatchNorm) for one in norms):
            raise UserError(
                "`sync_batchnorm` of Lightning's trainer must be false on a CPU, where torch cannot do it; unmask "
                "synchronises BatchNorm by itself."
            )
        shared = [one for one in norms if isinstance(one, SyncBatchNorm | nn.SyncBatchNorm)]
        if shared:
            told = "are those of all devices; `--trainer.sync_batchnorm false` gives each its own"
        else:
            told = "are each device's own, and checkpoints hold those of the first one"
        if norms:
            rank_zero_only(print)(f"The statistics of {len(norms)} BatchNorm layers {told}.", flush=True)


class SyncBatchNorm(_BatchNorm):
    """BatchNorm whose mean and variance are those of the rows of all processes; torch's own wants GPUs.

    ``[N, C]`` or ``[N, C, ...]``, N may differ between processes. Forward, backward and running statistics are those of
    one process that has all rows. Each process gathers 2 C + 1 numbers of each other.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"BatchNorm must be given [N, C] or [N, C, ...], but is given {list(input.shape)}.")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if not self.training:  # with statistics that were collected; what has none norms its own rows, as torch does
            return super().forward(input)
        rows = [axis for axis in range(input.ndim) if axis != 1]
        x = input.float()
        count = x.new_tensor([x.numel() // max(x.shape[1], 1)])
        mean = x.mean(rows) if count else x.new_zeros(x.shape[1])  # [C]
        spread = (x - _over(mean, x)).square().mean(rows) if count else mean  # [C]

        each = of_all_devices(torch.cat([count, mean, spread])[None], always=True)  # [world, 2 C + 1]
        counts, means, spreads = each[:, :1], *each[:, 1:].chunk(2, dim=1)
        total = counts.sum()
        shares = counts / total
        mean = (shares * means).sum(0)
        variance = (shares * (spreads + (means - mean).square())).sum(0)
        self._follow(mean.detach(), variance.detach() * total / (total - 1))
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight.float()
        out = (x - _over(mean, x)) * _over(scale, x)
        if self.affine:
            out = out + _over(self.bias.float(), x)
        return out.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Running statistics, with the unbiased variance as torch has it."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        step = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), step)
        self.running_var.lerp_(variance.to(self.running_var.dtype), step)


def synchronise(model: nn.Module, kind: str) -> int:
    """Replaces each BatchNorm in ``model``, in place, by one over all processes; names, weights and hooks stay, and so
    do layers within a norm, which are taken to follow it in their order.

    Args:
        model: before it is wrapped or sharded.
        kind: of the device; torch's own module is used on ``cuda``, `SyncBatchNorm` elsewhere.

    Returns:
        How many there are.
    """
    number = 0
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            if not isinstance(norm, _BatchNorm):
                continue
            number += 1
            if not isinstance(norm, SyncBatchNorm | nn.SyncBatchNorm):
                setattr(parent, name, _synchronised(norm, nn.SyncBatchNorm if kind == "cuda" else SyncBatchNorm))
    return number


def _synchronised(norm: _BatchNorm, cls: type[_BatchNorm]) -> _BatchNorm:
    new = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    if norm.affine:
        new.weight, new.bias = norm.weight, norm.bias
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(new, name, getattr(norm, name))
    for name, child in norm.named_children():  # what some batch norms do to their own outputs, such as an activation
        new.add_module(name, child)
    if new._modules:
        new.register_forward_hook(_then_children)
    for hooks in ("_forward_pre_hooks", "_forward_hooks"):
        getattr(new, hooks).update(getattr(norm, hooks))
    return new.train(norm.training)


def _then_children(norm: nn.Module, _: tuple[Any, ...], out: Tensor) -> Tensor:
    for child in norm.children():
        out = child(out)
    return out


def _over(numbers: Tensor, x: Tensor) -> Tensor:
    """``[C]`` beside ``x`` ``[N, C, ...]``."""
    return numbers.view(1, -1, *[1] * (x.ndim - 2))
