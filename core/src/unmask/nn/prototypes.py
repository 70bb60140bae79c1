"""Prototypes: a code as scores of many directions, and the centre of a teacher's scores (DINO, Caron et al. 2021,
arXiv:2104.14294)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.nn.gathered import of_all_devices
from unmask.support.checks import at_least, inside


class PrototypeHead(nn.Module):
    """``cos(mlp(code), prototype)`` for each prototype: three linear layers with GELUs, then weight-normed ones.

    Args:
        width: D of the codes.
        num_prototypes: at least 1.
        hidden_width: of the inner layers, at least 1.
        bottleneck: width of what is compared, at least 1.

    Shapes: codes ``[..., D]`` to scores ``[..., num_prototypes]`` in [-1, 1].

    Raises:
        ValueError: a number out of range.
    """

    held = False
    """Whether the prototypes get no gradient."""

    def __init__(self, width: int, num_prototypes: int, hidden_width: int = 2048, bottleneck: int = 256) -> None:
        super().__init__()
        at_least(1, num_prototypes=num_prototypes, hidden_width=hidden_width, bottleneck=bottleneck)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden_width),
            nn.GELU(),
            nn.Linear(hidden_width, hidden_width),
            nn.GELU(),
            nn.Linear(hidden_width, bottleneck),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(torch.empty(num_prototypes, bottleneck))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, codes: Tensor) -> Tensor:
        prototypes = F.normalize(self.prototypes, dim=-1)
        if prototypes.requires_grad:
            prototypes.register_hook(lambda grad: torch.zeros_like(grad) if self.held else grad)
        return F.linear(F.normalize(self.mlp(codes), dim=-1), prototypes)


class Centre(nn.Module):
    """The slow mean of a teacher's scores, over all devices, which is taken from them before they are sharpened.

    Args:
        num_prototypes: K.
        momentum: m of ``centre = m * centre + (1 - m) * mean`` after each batch, in [0, 1].

    Raises:
        ValueError: a momentum out of range.
    """

    value: Tensor

    def __init__(self, num_prototypes: int, momentum: float = 0.9) -> None:
        super().__init__()
        inside("[0, 1]", centre_momentum=momentum)
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(num_prototypes))

    def forward(self, scores: Tensor, temperature: float) -> Tensor:
        """``softmax((scores - centre) / temperature)`` over the last axis, in float32."""
        return ((scores.float() - self.value) / temperature).softmax(-1)

    @torch.no_grad()
    def follow(self, total: Tensor, count: Tensor | int) -> None:
        """Takes a step towards the mean of this batch.

        Args:
            total: sum of scores ``[K]`` on this device.
            count: of how many.
        """
        count = torch.as_tensor(count, device=total.device, dtype=torch.float32)
        both = of_all_devices(torch.cat([total.float(), count.view(1)])[None], always=True).sum(0)  # [K + 1]
        if both[-1] > 0:
            self.value.lerp_(both[:-1] / both[-1], 1 - self.momentum)
