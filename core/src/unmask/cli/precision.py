"""``--trainer.precision auto``: bfloat16 where the device multiplies it quickly, and float32 elsewhere.

A CPU without bfloat16 instructions takes up to 58 times as long for a product in bfloat16 as for one in float32, so a
recipe cannot name either. What was chosen is printed, and stored in ``config.yaml``.
"""

from __future__ import annotations

import os
import time
from typing import Any, Literal

import torch
from lightning.pytorch.utilities import rank_zero_only

from unmask.runs.launched import launched

AUTO = "auto"
Precision = Literal[
    "auto", "64-true", "32-true", "16-true", "16-mixed", "bf16-true", "bf16-mixed", "transformer-engine",
    "transformer-engine-float16", "64", "32", "16", "bf16", 64, 32, 16,
]  # fmt: skip
CHOSEN = "UNMASK_PRECISION"
"""The choice, for processes that this one starts: all must have the same."""
INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""What torch calls products of bfloat16 among a processor's capabilities."""
SIDE = 192
"""Of the matrices of the trial: a product takes some 0.2 ms in float32."""


def settle(precision: Any, accelerator: Any) -> Any:
    """The precision of a run. Says what ``auto`` became, and what would be slow.

    Args:
        precision: as configured.
        accelerator: as configured: Lightning's word, or an object.
    """
    kind = _device(accelerator)
    if precision == AUTO:
        if os.environ.get("LOCAL_RANK", "0") != "0" and CHOSEN in os.environ:
            return os.environ[CHOSEN]
        quick, why = _quick(kind)
        chosen = os.environ[CHOSEN] = "bf16-mixed" if quick else "32-true"
        _say(f"Precision: {chosen} (`auto`: {why}).")
        return chosen
    if kind == "cpu" and str(precision) in ("16", "16-mixed"):
        _say("Precision: Lightning takes bf16-mixed for 16-mixed on a CPU; `auto` takes what is quicker here.")
    elif kind == "cpu" and str(precision).startswith("bf16") and not (trial := _quick(kind))[0]:
        _say(f"Precision: {precision}, although {trial[1]}; `auto` takes what is quicker here.")
    return precision


def _quick(kind: str) -> tuple[bool, str]:
    """Whether this kind of device multiplies bfloat16 quicker than float32, and the reason in words."""
    if kind == "cuda":
        quick = torch.cuda.is_bf16_supported(including_emulation=False)
        return quick, f"the GPU has {'' if quick else 'no '}bfloat16"
    if kind != "cpu":
        return False, f"not tried on {kind}"
    if launched():  # by others, each process for itself: all must find the same, which times do not
        quick = any(torch.cpu.get_capabilities().get(name) for name in INSTRUCTIONS)
        return quick, f"this processor has {'' if quick else 'no '}bfloat16 instructions"
    factor = _trial()
    return factor < 1, f"a product in bfloat16 takes {factor:.2g} times as long as one in float32 on this processor"


def _trial() -> float:
    """How many times as long a product takes in bfloat16 as in float32; in some 20 ms."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # all work in this thread, whose own processor time other processes do not change
    try:
        return _seconds(torch.bfloat16) / _seconds(torch.float32)
    finally:
        torch.set_num_threads(threads)


def _seconds(dtype: torch.dtype) -> float:
    """Of the quickest of a few products, after one that is not counted."""
    a = torch.ones(SIDE, SIDE, dtype=dtype)
    a @ a
    times = []
    for _ in range(3):
        start = time.thread_time()
        a @ a
        times.append(time.thread_time() - start)
    return min(times)


def _device(accelerator: Any) -> str:
    """``cpu``, ``cuda``, ``mps`` or another kind."""
    path = getattr(accelerator, "class_path", accelerator)  # of a config
    path = path if isinstance(path, str) else type(path).__name__
    name = path.rpartition(".")[2].removesuffix("Accelerator").lower()
    if name in ("auto", "gpu", "nonetype"):
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return name


def _say(text: str) -> None:
    rank_zero_only(print)(text, flush=True)
