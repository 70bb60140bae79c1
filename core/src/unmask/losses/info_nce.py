"""InfoNCE: pick the right target among others (van den Oord et al. 2018, equation 4)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.parts import Loss


class InfoNCELoss(Loss):
    """Cross-entropy of cosine similarities over a temperature; the other asked places are the negatives.

    Args:
        temperature: above 0. 0.1 in wav2vec 2.0 (Baevski et al. 2020, section 4.2).
        negatives: ``sample``: the other asked places of the same sample (they differ by content
            only, not by source); ``batch``: those of all samples.
        similarity: ``cosine``, or ``dot``: the product of answer and target as they are (Selfie, Trinh et al. 2019,
            arXiv:1906.02940).

    Raises:
        ValueError: a temperature not above 0, unknown ``negatives`` or an unknown ``similarity``.
    """

    def __init__(
        self, temperature: float = 0.1, negatives: str = "sample", similarity: Literal["cosine", "dot"] = "cosine"
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature}.")
        if negatives not in ("sample", "batch"):
            raise ValueError(f"`negatives` must be 'sample' or 'batch', but is {negatives!r}.")
        if similarity not in ("cosine", "dot"):
            raise ValueError(f"`similarity` must be 'cosine' or 'dot', but is {similarity!r}.")
        self.temperature = temperature
        self.similarity = similarity
        self.negatives = negatives

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        shape = prediction.shape[:-1]
        rows = (shape[0], -1) if self.negatives == "sample" else (1, -1)
        answer, truth = (one.float().reshape(*rows, one.shape[-1]) for one in (prediction, target))  # [R, Q, T]
        if self.similarity == "cosine":
            answer, truth = F.normalize(answer, dim=-1), F.normalize(truth, dim=-1)
        with torch.autocast(answer.device.type, enabled=False):  # bfloat16 is too coarse over a temperature
            scores = answer @ truth.mT / self.temperature  # [R, Q, Q]
        if valid is not None:
            scores = scores.masked_fill(~valid.reshape(*rows)[:, None, :], float("-inf"))
        right = torch.arange(scores.shape[-1], device=scores.device).expand(scores.shape[:2])
        return F.cross_entropy(scores.flatten(0, 1), right.flatten(), reduction="none").view(shape)
