"""Staged teacher: at the end of each stage the student becomes the teacher, and begins anew (dBOT, Liu et al. 2022,
arXiv:2209.03917)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from unmask import seeds
from unmask.parts import Encoder, Tokenizer
from unmask.schedules import Progress
from unmask.support.checks import at_least
from unmask.support.remembered import made_again
from unmask.targets.teacher import Normalize, Sees, Teacher


class StagedTeacher(Teacher):
    """The first teacher is the encoder as it begins, with random weights; each stage's student teaches the next stage.

    The run is cut into stages of equal numbers of optimiser steps. At the end of each stage but the last, the teacher
    gets the weights of the encoder, and encoder and predictors are initialised anew; the optimiser's moments and the
    learning rate go on, as in dBOT's code. New weights are drawn by the run's seed and the stage, so a resumed run has
    the same. Arguments are those of `Teacher`, and:

    Args:
        num_stages: at least 1. Paper: 2 (table 1: the third teacher helps no more).
        normalize: as `Teacher`; dBOT's code divides by each code's own deviation.

    Raises:
        ValueError: as `Teacher`; fewer than one stage; in `start`, a layer that the encoder does not have.
    """

    teacher: Encoder
    stage: Tensor

    def __init__(
        self,
        num_stages: int = 2,
        normalize: Normalize = "deviation",
        layer: int | list[int] | None = None,
        top: int | None = None,
        sees: Sees = "all",
        tokenizer: Tokenizer | None = None,
        pool: Literal["mean", "max", "cls"] | None = None,
    ) -> None:
        super().__init__(layer, top, normalize, sees, tokenizer, pool)
        at_least(1, num_stages=num_stages)
        self.num_stages = num_stages
        self.register_buffer("stage", torch.zeros((), dtype=torch.long))

    @property
    def encoder(self) -> Encoder:
        return self.teacher

    def start(self, model: Any) -> None:
        self.teacher = copy.deepcopy(self.check(model.encoder)).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        done, total = progress.step + 1, progress.total_steps
        due = min(done * self.num_stages // total, self.num_stages - 1) if total else 0
        stage = int(self.stage)
        if due > stage:
            _give(self.teacher, model.encoder)
            renew(_student(model), seeds.mix(getattr(model, "seed", None) or 0, "stage", due))
            self.stage.fill_(due)
            stage = due
        return {"stage": float(stage)}


@torch.no_grad()
def renew(parts: Iterator[Any], seed: int) -> None:
    """Gives parts the weights that they would have if they were made now, in place: optimisers keep them.

    Args:
        parts: each is made again with its own arguments, on the CPU.
        seed: that new weights are drawn by; torch's own generator stays where it is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        for part in parts:
            _give(part, made_again(part))


def _student(model: Any) -> Iterator[Any]:
    """What is trained: the encoder, and whatever predicts from its codes."""
    yield model.encoder
    predictor = getattr(model, "predictor", None)
    if predictor is not None:
        yield predictor
    for objective in getattr(model, "objectives", {}).values():
        if objective.predictor is not None:
            yield objective.predictor


def _give(mine: nn.Module, theirs: nn.Module) -> None:
    """Copies weights and buffers into a module of the same kind, which may be shared out over processes."""
    given = {**dict(theirs.named_parameters()), **dict(theirs.named_buffers())}
    for name, tensor in [*mine.named_parameters(), *mine.named_buffers()]:
        new = given[name]
        if isinstance(tensor, DTensor) and not isinstance(new, DTensor):
            new = distribute_tensor(new.detach().to(tensor.device), tensor.device_mesh, tensor.placements)
        tensor.copy_(new)
