"""unmask: hide part of the data, encode what is left, predict what is hidden.

The names below are imported on first use, so that ``import unmask`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unmask.support.lazy import lazily

__version__ = "0.1.0"

_HOMES = {
    "Agreement": "agreements",
    "Constant": "schedules",
    "Corruption": "structures",
    "Cosine": "schedules",
    "Encoder": "parts",
    "Grid": "structures",
    "KEPT": "structures",
    "Latent": "structures",
    "Layout": "structures",
    "Linear": "schedules",
    "Loss": "parts",
    "LossValue": "parts",
    "MADE": "method",
    "Mask": "structures",
    "MaskSampler": "parts",
    "MaskedDataModule": "data",
    "MaskedModel": "model",
    "Method": "method",
    "Optimization": "optim",
    "Places": "structures",
    "Prediction": "structures",
    "Predictor": "parts",
    "Progress": "schedules",
    "RANDOM": "structures",
    "Schedule": "schedules",
    "Sequence": "structures",
    "Set": "structures",
    "Step": "parts",
    "TOKEN": "structures",
    "Target": "parts",
    "Term": "parts",
    "Tokenizer": "parts",
    "Tokens": "structures",
    "at": "schedules",
    "chosen": "method",
    "fused": "optim",
    "left_to": "method",
    "num_to_hide": "parts",
    "parameter_groups": "optim",
}

__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from unmask.agreements import Agreement
    from unmask.data import MaskedDataModule
    from unmask.method import MADE, Method, chosen, left_to
    from unmask.model import MaskedModel
    from unmask.optim import Optimization, fused, parameter_groups
    from unmask.parts import (
        Encoder,
        Loss,
        LossValue,
        MaskSampler,
        Predictor,
        Step,
        Target,
        Term,
        Tokenizer,
        num_to_hide,
    )
    from unmask.schedules import Constant, Cosine, Linear, Progress, Schedule, at
    from unmask.structures import (
        KEPT,
        RANDOM,
        TOKEN,
        Corruption,
        Grid,
        Latent,
        Layout,
        Mask,
        Places,
        Prediction,
        Sequence,
        Set,
        Tokens,
    )

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
