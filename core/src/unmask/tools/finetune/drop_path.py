"""Stochastic depth set on an encoder that exists already (Huang et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.nn.transformer import Block


class DropPath(nn.Module):
    """Leaves out a residual branch for a whole sample with probability ``ratio``, and scales up the others.

    Args:
        ratio: in [0, 1).
    """

    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.ratio == 0:
            return branch
        keep = branch.new_empty(len(branch), *[1] * (branch.ndim - 1)).bernoulli_(1 - self.ratio)
        return branch * (keep / (1 - self.ratio))


def set_drop_path(encoder: nn.Module, ratio: float) -> None:
    """Stochastic depth that rises linearly from 0 at the first block to ``ratio`` at the last.

    Works on this toolkit's `Block`, and on any module whose branches go through children that are named
    ``drop_path...``, as all of timm's do (an `nn.Identity` where it was built without). No weight is
    added or renamed.

    Args:
        encoder: changed in place.
        ratio: in [0, 1); 0 switches stochastic depth off.

    Raises:
        ValueError: an encoder that has no such block, unless ``ratio`` is 0.
    """
    blocks = [module for module in encoder.modules() if isinstance(module, Block) or _branches(module)]
    if ratio and not blocks:
        raise ValueError(
            f"`drop_path` must be 0 for {type(encoder).__name__}, in which no block has a `drop_path` to set, "
            f"but is {ratio:g}."
        )
    for block, own in zip(blocks, torch.linspace(0, ratio, len(blocks)).tolist(), strict=True):
        if isinstance(block, Block):
            block.drop_path_ratio = own
        for name in _branches(block):
            setattr(block, name, DropPath(own))


def _branches(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_children() if name.startswith("drop_path")]
