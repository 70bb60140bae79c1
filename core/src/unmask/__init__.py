"""unmask: hide part of the data, encode what is left, predict what is hidden.

The names below are imported on first use, so that ``import unmask`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Constant": "schedules",
    "Corruption": "handoffs",
    "Cosine": "schedules",
    "Encoder": "families",
    "Grid": "handoffs",
    "Latent": "handoffs",
    "Linear": "schedules",
    "Loss": "families",
    "LossValue": "families",
    "Mask": "handoffs",
    "MaskSampler": "families",
    "MaskedDataModule": "data",
    "MaskedModel": "model",
    "Optimization": "optim",
    "Places": "handoffs",
    "Prediction": "handoffs",
    "Predictor": "families",
    "Progress": "schedules",
    "Schedule": "schedules",
    "Sequence": "handoffs",
    "Set": "handoffs",
    "Step": "model",
    "Target": "families",
    "Tokenizer": "families",
    "Tokens": "handoffs",
}

__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from unmask.data import MaskedDataModule
    from unmask.families import Encoder, Loss, LossValue, MaskSampler, Predictor, Target, Tokenizer
    from unmask.handoffs import Corruption, Grid, Latent, Mask, Places, Prediction, Sequence, Set, Tokens
    from unmask.model import MaskedModel, Step
    from unmask.optim import Optimization
    from unmask.schedules import Constant, Cosine, Linear, Progress, Schedule


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unmask' has no attribute {name!r}")
    return getattr(import_module(f"unmask.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
