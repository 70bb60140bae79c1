"""Fine-tuning: an encoder and a head trained on labels, beside the same from scratch.

Imported on first use: `Settings` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {"FineTuning": "model", "Result": "result", "Settings": "settings", "finetune": "run", "load": "saved"}

__all__ = ["FineTuning", "Result", "Settings", "finetune", "load"]

if TYPE_CHECKING:
    from unmask.finetune.model import FineTuning
    from unmask.finetune.result import Result
    from unmask.finetune.run import finetune
    from unmask.finetune.saved import load
    from unmask.finetune.settings import Settings


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unmask.finetune' has no attribute {name!r}")
    return getattr(import_module(f"unmask.finetune.{_HOMES[name]}"), name)
