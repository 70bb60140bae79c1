"""unmask: hide part of the data, encode what is left, predict what is hidden.

The names below are imported on first use, so that ``import unmask`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unmask.support.lazy import lazily

__version__ = "0.1.0"

_HOMES = {
    "TokenizerByPart": "joint",
    "PredictorByPart": "joint",
    "Embedder": "embedder",
    "Frozen": "frozen",
    "CorruptionByPart": "joint",
    "EncoderByPart": "joint",
    "LossByPart": "joint",
    "TargetByPart": "joint",
    "Agreement": "agreements",
    "Answer": "step",
    "Candidates": "parts",
    "Constant": "schedules",
    "Corruption": "parts",
    "Cosine": "schedules",
    "CosineSpread": "schedules",
    "Draws": "draws",
    "Encoder": "parts",
    "FILLED": "structures",
    "Given": "step",
    "Grid": "structures",
    "Joint": "structures",
    "KEPT": "structures",
    "Latent": "structures",
    "Layout": "structures",
    "Linear": "schedules",
    "Loss": "parts",
    "LossValue": "step",
    "MADE": "method",
    "Mask": "structures",
    "MaskSampler": "parts",
    "MaskedDataModule": "data",
    "MaskedModel": "model",
    "Method": "method",
    "Objective": "objectives",
    "Optimization": "optim",
    "Part": "parts",
    "Places": "structures",
    "Prediction": "structures",
    "Predictor": "parts",
    "Progress": "schedules",
    "RANDOM": "structures",
    "Ratio": "schedules",
    "Schedule": "schedules",
    "Sequence": "structures",
    "Set": "structures",
    "Shown": "step",
    "Spread": "schedules",
    "Step": "step",
    "TOKEN": "structures",
    "Target": "parts",
    "streams_of": "model",
    "Term": "parts",
    "Tokenizer": "parts",
    "Tokens": "structures",
    "TruncatedNormal": "schedules",
    "Turns": "schedules",
    "Uniform": "schedules",
    "Pretrained": "cli.one_call",
    "at": "schedules",
    "chosen": "method",
    "fused": "optim",
    "left_to": "method",
    "load": "cli.one_call",
    "num_to_hide": "parts",
    "parameter_groups": "optim",
    "pretrain": "cli.one_call",
}

__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from unmask.agreements import (
        Agreement,
    )
    from unmask.cli.one_call import Pretrained, load, pretrain
    from unmask.data import (
        MaskedDataModule,
    )
    from unmask.draws import (
        Draws,
    )
    from unmask.embedder import (
        Embedder,
    )
    from unmask.frozen import (
        Frozen,
    )
    from unmask.joint import (
        CorruptionByPart,
        EncoderByPart,
        LossByPart,
        PredictorByPart,
        TargetByPart,
        TokenizerByPart,
    )
    from unmask.method import (
        MADE,
        Method,
        chosen,
        left_to,
    )
    from unmask.model import (
        MaskedModel,
    )
    from unmask.objectives import (
        Objective,
    )
    from unmask.optim import (
        Optimization,
        fused,
        parameter_groups,
    )
    from unmask.parts import (
        Candidates,
        Corruption,
        Encoder,
        Loss,
        MaskSampler,
        Part,
        Predictor,
        Target,
        Term,
        Tokenizer,
        num_to_hide,
    )
    from unmask.schedules import (
        Constant,
        Cosine,
        CosineSpread,
        Linear,
        Progress,
        Ratio,
        Schedule,
        Spread,
        TruncatedNormal,
        Turns,
        Uniform,
        at,
    )
    from unmask.step import (
        Answer,
        Given,
        LossValue,
        Shown,
        Step,
    )
    from unmask.structures import (
        FILLED,
        KEPT,
        RANDOM,
        TOKEN,
        Grid,
        Joint,
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
