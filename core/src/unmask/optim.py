"""Optimisation as the field does it: AdamW on two kinds of parameters, warm-up, cosine decay.

The learning rate of a run is ``base_lr * effective batch / 256`` (Goyal et al. 2017, as used by
MAE, appendix A.1), the effective batch being batch size x devices x accumulated batches.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from unmask.schedules import Schedule
from unmask.support.checks import inside

Kind = TypeVar("Kind", bound=Adam)

NO_DECAY = re.compile(
    r"(^|[._])((cls|mask|reg|dist|register)_tokens?"
    r"|pos_embed\w*|position\w*|rel_pos\w*|relative_position\w*|logit_scale)\b"
)
"""Names of parameters that weight decay would pull away from what they mean."""

AFTER_BLOCKS = re.compile(r"(?<!embed)\.(fc_)?norm\.|\.shared_rel_pos\.")
"""Names in an encoder that count as above its blocks: the last norm (``patch_embed.norm`` comes before
them) and a position bias that they share (as in SimMIM's fine-tuning code)."""


@dataclass(frozen=True)
class Optimization:
    """AdamW, linear warm-up and half a cosine down to ``min_lr``, all counted in optimiser steps.

    Args:
        base_lr: learning rate at an effective batch of 256, above 0.
        scale_lr: whether to scale it by effective batch / 256; False: ``base_lr`` is used as it is.
        min_lr: learning rate at the end, scaled likewise, in [0, base_lr].
        weight_decay: at least 0, or a schedule of it (I-JEPA: cosine 0.04 to 0.4). Not applied to
            norms, biases, positions and learned tokens.
        betas: AdamW's momenta. MAE, table 8: (0.9, 0.95).
        warmup_epochs: length of the warm-up in epochs; fractions allowed.
        warmup_steps: its length in steps; when given, counts instead of ``warmup_epochs``.
        layer_decay: for fine-tuning, in (0, 1]: the learning rate of the encoder's block i is
            multiplied by ``layer_decay ** (num_blocks - i)`` (BEiT, Bao et al. 2021).

    Raises:
        ValueError: a number outside its range.
    """

    base_lr: float = 1.5e-4
    scale_lr: bool = True
    min_lr: float = 0.0
    weight_decay: float | Schedule = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    warmup_epochs: float = 0.0
    warmup_steps: int | None = None
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if self.base_lr <= 0:
            raise ValueError(f"`base_lr` must be above 0, but is {self.base_lr}.")
        if not 0 <= self.min_lr <= self.base_lr:
            raise ValueError(f"`min_lr` must be in [0, base_lr = {self.base_lr}], but is {self.min_lr}.")
        if not isinstance(self.weight_decay, Schedule) and self.weight_decay < 0:
            raise ValueError(f"`weight_decay` must be at least 0, but is {self.weight_decay}.")
        if self.warmup_epochs < 0 or (self.warmup_steps or 0) < 0:
            raise ValueError(f"Warm-up must be at least 0, but is {self.warmup_steps or self.warmup_epochs}.")
        inside("(0, 1]", layer_decay=self.layer_decay)

    def warmup_within(self, total_steps: int, warmup_steps: int) -> int:
        """The warm-up of a run of ``total_steps``; one that would not end before the run does is a tenth of it.

        Else the learning rate would never be ``base_lr``. It is said where that happens.
        """
        if warmup_steps < total_steps or not warmup_steps:
            return warmup_steps
        shorter = total_steps // 10
        rank_zero_only(print)(
            f"`optim.warmup_steps` must be below {total_steps:,}, the steps of the run, but is {warmup_steps:,}: the "
            f"warm-up of this run is {shorter:,} steps.",
            flush=True,
        )
        return shorter

    def factor(self, step: int, warmup_steps: int, total_steps: int) -> float:
        """What to multiply the highest learning rate by at optimiser step ``step`` (0 is the first).

        The warm-up ends, at factor 1, on step ``warmup_steps``; ``total_steps`` has ``min_lr``.
        """
        if step < warmup_steps:
            return step / warmup_steps
        floor = self.min_lr / self.base_lr
        fraction = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * fraction))

    def optimizer(self, model: nn.Module, lr: float, weight_decay: float) -> AdamW:
        """AdamW over the trainable parameters of ``model``, grouped by `parameter_groups`; fused where torch can."""
        groups = parameter_groups(model, lr, weight_decay, self.layer_decay)
        return fused(AdamW, groups, lr=lr, betas=self.betas)


FUSED = ("cpu", "cuda", "mps", "xpu")
"""Kinds of devices for which torch has one kernel for the whole of an Adam step: a quarter of the time on a CPU."""


def fused(kind: type[Kind], groups: list[dict], **options: Any) -> Kind:
    """`torch.optim.Adam` or ``AdamW`` over ``groups``, in one kernel where torch has one for their device."""
    trained = [parameter for group in groups for parameter in group["params"]]
    whole = all(p.is_floating_point() and p.device.type in FUSED for p in trained)
    # A kernel takes parameters that are cut, or others, not both.
    mixed = len({isinstance(p, DTensor) for p in trained}) > 1
    optimizer = kind(groups, **options, **({"foreach": False} if mixed else {"fused": whole or None}))
    # A fused step could unscale fp16 gradients itself, and Lightning then refuses to clip. It is not asked to.
    optimizer._step_supports_amp_scaling = False
    return optimizer


class Planned(LambdaLR):
    """A schedule of a learning rate that a resumed run computes from its own options, not from those before.

    A checkpoint gives it the step alone. Where the options are the same, so is every learning rate, to the last bit.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_epoch, self._step_count = int(state_dict["last_epoch"]), int(state_dict["_step_count"])
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        self._last_lr = [lr * factor(self.last_epoch) for lr, factor in pairs]
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr


def keeps_its_options(optimizer: Optimizer) -> None:
    """Lets a checkpoint restore the moments of ``optimizer``, but neither learning rates, momenta nor the like."""
    optimizer.register_load_state_dict_pre_hook(_with_own_options)


def _with_own_options(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    theirs, own = state_dict["param_groups"], optimizer.param_groups
    if [len(group["params"]) for group in theirs] != [len(group["params"]) for group in own]:
        raise ValueError("its optimiser's parameters are in other groups")
    ids = [index for group in theirs for index in group["params"]]
    for index, parameter in zip(ids, (p for group in own for p in group["params"]), strict=True):
        if isinstance(optimizer, Adam) and state_dict["state"].get(index):
            for name, shape in (("step", ()), ("exp_avg", parameter.shape), ("exp_avg_sq", parameter.shape)):
                _must_be(state_dict["state"][index].get(name), name, torch.Size(shape), parameter)
        for name, value in state_dict["state"].get(index, {}).items():
            if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError(
                    f"its optimiser's `{name}` is {list(value.shape)} for a weight {list(parameter.shape)}"
                )
    groups = [mine | {"params": group["params"]} for mine, group in zip(own, theirs, strict=True)]
    return {**state_dict, "param_groups": groups}


def _must_be(value: Any, name: str, shape: torch.Size, parameter: Tensor) -> None:
    """Refuses a moment of Adam's that its kernels would stumble over."""
    if not isinstance(value, Tensor) or value.shape != shape or not value.is_floating_point():
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(f"its optimiser's `{name}` is {found} for a weight {list(parameter.shape)}")


def parameter_groups(model: nn.Module, lr: float, weight_decay: float, layer_decay: float = 1.0) -> list[dict]:
    """Groups with and without weight decay and, below ``layer_decay`` 1, one per depth of the encoder.

    A group's ``decays`` says whether weight decay applies to it, for schedules of it.
    """
    groups: dict[tuple[bool, float], dict] = {}
    for name, parameter, depth in _with_depth(model):
        decays = parameter.ndim > 1 and not NO_DECAY.search(name)
        scale = layer_decay**depth
        start = {"lr": lr * scale, "weight_decay": weight_decay if decays else 0.0, "decays": decays}
        groups.setdefault((decays, scale), {"params": [], **start})["params"].append(parameter)
    return list(groups.values())


def _with_depth(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, int]]:
    """Trainable parameters with their distance from the top: 0 outside the encoder's trunk, 1 for
    its last block, and one more than the first block's for what comes before the blocks."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    blocks = {name: _block(name) for name, _ in named if name.startswith("encoder.")}
    order = list(dict.fromkeys(block for block in blocks.values() if block))  # first to last
    for name, parameter in named:
        block = blocks.get(name)
        if block:
            yield name, parameter, len(order) - order.index(block)
        elif name in blocks and not AFTER_BLOCKS.search(name):
            yield name, parameter, len(order) + 1
        else:
            yield name, parameter, 0


def _block(name: str) -> str | None:
    """The block that a parameter belongs to: ``encoder.vit.blocks.3``, ``encoder.swin.layers.0.blocks.1``."""
    found = re.match(r".*\b(?:blocks|layers?)\.\d+(?=\.)", name)
    return found[0] if found else None
