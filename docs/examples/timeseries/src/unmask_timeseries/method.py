"""MAE on timeseries samples: hide most tokens, encode the rest, predict what is hidden (He et al. 2021)."""

from __future__ import annotations

from unmask import Corruption, Encoder, Loss, MaskedModel, MaskSampler, Optimization, Target
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask_timeseries.encoder import TimeseriesEncoder
from unmask_timeseries.tokenizer import TimeseriesTokenizer


class TimeseriesMAE(MaskedModel):
    """The encoder sees the visible tokens only; a light trunk predicts the values of the hidden ones.

    Args:
        patch_size: values of a token.
        mask: half of the tokens at random.
        encoder: None: a small transformer.
        target: the values.
        loss: squared error.
        corruption: hidden tokens are dropped.
        optim: optimiser and schedule.
    """

    def __init__(
        self,
        patch_size: int = 4,
        mask: MaskSampler = RandomMask(ratio=0.5),
        encoder: Encoder | None = None,
        target: Target = ValueTarget(),
        loss: Loss = MSELoss(),
        corruption: Corruption = Corruption(drop=1),
        optim: Optimization = Optimization(),
    ) -> None:
        encoder = encoder or TimeseriesEncoder(patch_size)
        super().__init__(
            tokenizer=TimeseriesTokenizer(patch_size),
            mask=mask,
            encoder=encoder,
            predictor=TransformerPredictor(encoder.width, patch_size, width=32, depth=1, num_heads=4),
            target=target,
            loss=loss,
            corruption=corruption,
            optim=optim,
        )
