"""Losses of point patches: Chamfer distance of point sets, and the angle between normals of unknown side."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask import Loss
from unmask_pointcloud.ops import chamfer_distance


class ChamferLoss(Loss):
    """Chamfer distance between the points predicted and those that were hidden, per patch (Point-MAE, equation 4).

    Answers and targets are ``[B, M, 3 k]``: k points, in any order.

    Args:
        norm: 2: ``mean_p min_t |p - t|^2 + mean_t min_p |p - t|^2`` (Point-MAE), in the data's unit squared; 1:
            half of the same sum with ``|p - t|`` (Point-BERT's dVAE).

    Raises:
        ValueError: another norm; in `forward`, answers that are no points.
    """

    def __init__(self, norm: Literal[1, 2] = 2) -> None:
        super().__init__()
        if norm not in (1, 2):
            raise ValueError(f"`norm` must be 1 or 2, but is {norm}.")
        self.norm = norm

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        if prediction.shape[-1] % 3:
            raise ValueError(f"Answers must be points, 3 numbers each, but have {prediction.shape[-1]} numbers.")
        answer, truth = (each.float().unflatten(-1, (-1, 3)) for each in (prediction, target))
        return chamfer_distance(answer, truth, self.norm)


class NormalLoss(Loss):
    """``1 - |cos(p, t)|`` per patch, in [0, 1]: a plane's normal has no side. Answers and targets ``[B, M, 3]``."""

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        return (
            1
            - F.cosine_similarity(prediction.float(), target.float(), dim=-1, eps=torch.finfo(torch.float32).eps).abs()
        )


class OccupancyLoss(Loss):
    """``-t log sigmoid(p) - (1 - t) log(1 - sigmoid(p))``, in nats, the mean over cells. Answers and targets
    ``[B, M, C]``, targets 0 or 1."""

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        return F.binary_cross_entropy_with_logits(prediction.float(), target.float(), reduction="none").mean(-1)
