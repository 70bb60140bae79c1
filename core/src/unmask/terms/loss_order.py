"""Loss order: which of two hidden places is harder to predict (HPM, Wang et al. 2023, arXiv:2304.05919)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Predictor, Term
from unmask.schedules import Schedule
from unmask.step import Step


class LossOrder(Term):
    """A second predictor says how hard each asked place is, and learns from the order of the losses there.

    With ``d`` the mean of its answer at a place and L the loss there: ``mean over pairs with L_i > L_j of
    -log sigmoid(d_i - d_j)``. No gradient reaches the losses; the codes are trained as well. `HardMask` hides by it.

    Args:
        predictor: of any number of values for each place, of which the mean is taken. Paper: as large as the decoder.
        weight: at least 0, or a schedule of it. Paper: 1.

    Raises:
        ValueError: a weight below 0.
    """

    def __init__(self, predictor: Predictor, weight: float | Schedule = 1.0) -> None:
        super().__init__(weight)
        self.predictor = predictor

    def forward(self, step: Step, model: Any) -> Tensor:
        hardness = self.predictor(step.latent.codes, step.tokens.places, step.mask).values.float().mean(-1)  # [B, M]
        loss = step.loss.per_token.float()
        harder = loss[..., :, None] > loss[..., None, :]  # [B, M, M]
        valid = step.mask.asked.valid
        if valid is not None:
            harder = harder & valid[..., :, None] & valid[..., None, :]
        gap = hardness[..., :, None] - hardness[..., None, :]
        return (F.softplus(-gap) * harder).sum() / harder.sum().clamp(min=1)
