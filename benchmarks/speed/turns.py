"""Steps of several models, measured turn by turn in one process, so that a slow minute slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def medians(
    steps: Mapping[str, Callable[[], Any]],
    rounds: int,
    device: str = "cpu",
    warm_up: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each, over so many rounds after those that warm caches up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + warm_up):
        for name, step in steps.items():
            start = clock()
            step()
            if device != "cpu":
                torch.cuda.synchronize()
            if turn >= warm_up:
                seconds[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def stepper(
    model: nn.Module, loss: Callable[..., Tensor], optimizer: torch.optim.Optimizer, device: str, bf16: bool
) -> Callable[..., None]:
    """Forward, backward and update of one model; what the step is given goes to ``loss``."""
    model.train()

    def step(*given: Any) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            value = loss(*given)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def adamw(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    """AdamW for what is trained."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, **options)
