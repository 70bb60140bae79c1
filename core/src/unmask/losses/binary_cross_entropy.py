"""Binary cross-entropy: which of C classes are there, each by itself."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Loss


class BinaryCrossEntropyLoss(Loss):
    """``mean over classes of -(t log s + (1 - t) log(1 - s))``, ``s = sigmoid(p)``, in nats.

    ``p`` ``[B, M, C]`` scores; ``t`` ``[B, M, C]`` of 0 and 1, or ids ``[B, M]`` of the one class that is there.
    """

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        if target.ndim < prediction.ndim:
            target = F.one_hot(target, prediction.shape[-1])
        losses = F.binary_cross_entropy_with_logits(prediction.float(), target.float(), reduction="none")
        return losses.mean(-1)
