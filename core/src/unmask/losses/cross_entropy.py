"""Cross-entropy at the asked places: which of C classes is hidden there (BERT, Devlin et al. 2018)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Loss
from unmask.support.checks import inside


class CrossEntropyLoss(Loss):
    """``-log softmax(p)[t]`` per token, in nats; ``p`` ``[B, M, C]`` scores, ``t`` ``[B, M]`` ids.

    Args:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1).

    Raises:
        ValueError: ``label_smoothing`` outside [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        inside("[0, 1)", label_smoothing=label_smoothing)
        self.label_smoothing = label_smoothing

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        scores = prediction.float().flatten(0, -2)  # [B * M, C]
        loss = F.cross_entropy(scores, target.flatten(), reduction="none", label_smoothing=self.label_smoothing)
        return loss.view(target.shape)
