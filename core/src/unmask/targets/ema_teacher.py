"""EMA teacher: latents of a slowly following copy of the encoder (I-JEPA, Assran et al. 2023, section 3)."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Encoder, Target
from unmask.schedules import Linear, Progress, Schedule, at
from unmask.step import Given
from unmask.structures import Mask, Tokens


class EMATeacher(Target):
    """The teacher sees everything; its layer-normed codes at the asked places are the target.

    After every optimiser step, ``teacher = m * teacher + (1 - m) * encoder``, with m the momentum
    at that step; buffers are copied. The teacher is always in evaluation mode.

    Args:
        momentum: m in [0, 1], or a schedule of it. I-JEPA (appendix A.1): linear 0.996 to 1.
        normalize: layer-norm the codes without learned scale and shift, as I-JEPA's code does.

    Raises:
        ValueError: a momentum outside [0, 1]; in `update`, weights in 16 bits, which round its small steps away.
    """

    teacher: Encoder

    def __init__(
        self,
        momentum: float | Schedule = Linear(start=0.996, end=1.0),
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(momentum, Schedule) and not 0 <= momentum <= 1:
            raise ValueError(f"`momentum` must be in [0, 1], but is {momentum}.")
        self.momentum = momentum
        self.normalize = normalize

    def start(self, model: Any) -> None:
        self.teacher = copy.deepcopy(model.encoder).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> EMATeacher:
        return super().train(False)

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        codes = self.teacher(tokens).values  # [B, N, D]
        if self.normalize:
            codes = F.layer_norm(codes.float(), codes.shape[-1:])
        return mask.asked.gather(codes)  # [B, M, D]

    @torch.no_grad()
    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        momentum = at(self.momentum, progress)
        teacher: list[Tensor] = list(self.teacher.parameters())
        student: list[Tensor] = list(model.encoder.parameters())
        if teacher[0].dtype in (torch.bfloat16, torch.float16):
            raise ValueError(
                "`trainer.precision` must keep weights in float32 for an EMA teacher, whose small steps would be "
                f"rounded away in {teacher[0].dtype}; nearest: 'bf16-mixed'."
            )
        torch._foreach_lerp_(teacher, student, 1 - momentum)
        for mine, theirs in zip(self.teacher.buffers(), model.encoder.buffers(), strict=True):
            mine.copy_(theirs)
        return {"momentum": momentum}
