"""Fine-tuning: an encoder and a head trained on labels, beside the same from scratch.

Imported on first use: `Settings` needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unmask.support.lazy import lazily

_HOMES = {"FineTuning": "model", "Settings": "settings", "finetune": "run", "load": "saved"}

__all__ = ["FineTuning", "Settings", "finetune", "load"]

if TYPE_CHECKING:
    from unmask.tools.finetune.model import FineTuning
    from unmask.tools.finetune.run import finetune
    from unmask.tools.finetune.saved import load
    from unmask.tools.finetune.settings import Settings

__getattr__ = lazily(__name__, _HOMES)
