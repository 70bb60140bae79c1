"""MLP predictor: a few layers on the code of each asked place (DMJD, Ma et al. 2022, section 3.3)."""

from __future__ import annotations

from torch import nn

from unmask.nn.transformer import xavier
from unmask.predictors.linear import LinearPredictor
from unmask.structures import Latent, Mask, Prediction, Tokens
from unmask.support.checks import at_least


class MLPPredictor(LinearPredictor):
    """``W norm(MLP(code)) + b`` at each asked place, all of which the encoder must have seen.

    The MLP has a norm and GELU after each layer but the last, which has a norm without scale and shift.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.
        hidden_width: of the MLP's layers; None: D.
        depth: linear layers of the MLP, at least 1. DMJD: 3.

    Raises:
        ValueError: no layer; when called, as `LinearPredictor`.
    """

    def __init__(self, encoder_width: int, target_width: int, hidden_width: int | None = None, depth: int = 3) -> None:
        hidden_width = hidden_width or encoder_width
        super().__init__(hidden_width, target_width)
        at_least(1, depth=depth)
        layers: list[nn.Module] = []
        width = encoder_width
        for _ in range(depth - 1):
            layers += [nn.Linear(width, hidden_width), nn.LayerNorm(hidden_width), nn.GELU()]
            width = hidden_width
        layers += [nn.Linear(width, hidden_width), nn.LayerNorm(hidden_width, elementwise_affine=False)]
        self.mlp = nn.Sequential(*layers)
        self.mlp.apply(xavier)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        codes = Latent(self.mlp(latent.values), latent.seen)
        return super().forward(codes, places, mask)
