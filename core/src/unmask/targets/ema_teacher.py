"""EMA teacher: latents of a slowly following copy of the encoder (I-JEPA, Assran et al. 2023, section 3)."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor

from unmask.parts import Encoder, Tokenizer
from unmask.schedules import Linear, Progress, Schedule, at
from unmask.targets.teacher import Normalize, Sees, Teacher


class EMATeacher(Teacher):
    """Features of a copy of the encoder that follows it; by default it sees everything.

    After every optimiser step, ``teacher = m * teacher + (1 - m) * encoder``, with m the momentum
    at that step; buffers are copied. The teacher is always in evaluation mode. Arguments are those of `Teacher`, and:

    Args:
        momentum: m in [0, 1], or a schedule of it. I-JEPA (appendix A.1): linear 0.996 to 1.
        normalize: as `Teacher`: layer norm, as I-JEPA's code does; True and False stand for ``layer`` and ``none``.

    Raises:
        ValueError: as `Teacher`; a momentum outside [0, 1]; in `start`, a layer that the encoder does not have; in
            `update`, weights in 16 bits, which round its small steps away.
    """

    teacher: Encoder

    def __init__(
        self,
        momentum: float | Schedule = Linear(start=0.996, end=1.0),
        normalize: bool | Normalize = "layer",
        layer: int | list[int] | None = None,
        top: int | None = None,
        sees: Sees = "all",
        tokenizer: Tokenizer | None = None,
        pool: Literal["mean", "max", "cls"] | None = None,
    ) -> None:
        words: dict[Any, Normalize] = {True: "layer", False: "none"}
        super().__init__(layer, top, words.get(normalize, normalize), sees, tokenizer, pool)  # type: ignore[arg-type]
        if not isinstance(momentum, Schedule) and not 0 <= momentum <= 1:
            raise ValueError(f"`momentum` must be in [0, 1], but is {momentum}.")
        self.momentum = momentum

    @property
    def encoder(self) -> Encoder:
        return self.teacher

    def start(self, model: Any) -> None:
        self.teacher = copy.deepcopy(self.check(model.encoder)).requires_grad_(False).eval()

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
