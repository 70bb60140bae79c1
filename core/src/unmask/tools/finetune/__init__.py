"""Fine-tuning: an encoder and a head trained on labels, beside the same from scratch.

Imported on first use: `Settings` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {"FineTuning": "model", "Settings": "settings", "finetune": "run", "load": "saved"}

__all__ = ["FineTuning", "Settings", "finetune", "load"]

if TYPE_CHECKING:
    from unmask.tools.finetune.model import FineTuning
    from unmask.tools.finetune.run import finetune
    from unmask.tools.finetune.saved import load
    from unmask.tools.finetune.settings import Settings


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unmask.tools.finetune' has no attribute {name!r}")
    return getattr(import_module(f"unmask.tools.finetune.{_HOMES[name]}"), name)
