"""What tests give a model: a mask of their own, and weights in which no mistake hides."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from unmask.draws import Draws
from unmask.parts import Candidates, MaskSampler
from unmask.structures import Mask

Module = TypeVar("Module", bound=nn.Module)


class GivenMask(MaskSampler):
    """Hides the places given.

    Args:
        hidden: bool, ``[B, N]``, or ``[T]`` for packed tokens.
    """

    def __init__(self, hidden: Tensor) -> None:
        super().__init__(ratio=0.5)
        self.hidden = hidden

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        valid = among.valid
        if self.hidden.ndim == 1:
            return Mask(torch.zeros_like(valid).masked_scatter(valid, self.hidden))
        return Mask(self.hidden & valid)


def shaken(model: Module, scale: float = 0.1) -> Module:
    """``model`` with the same random values added to its weights each time, so that no bias is zero and no norm one."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model
