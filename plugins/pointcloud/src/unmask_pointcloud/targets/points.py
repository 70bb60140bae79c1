"""Point target: the hidden patch's points themselves (Point-MAE, Pang et al. 2022, section 3.2)."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from unmask import Given, Mask, Prediction, Target, Tokens


class PointTarget(Target):
    """Coordinates of the points of asked patches, relative to their centres ``[B, M, 3 k]``; channels are not asked."""

    def forward(self, tokens: Tokens, mask: Mask, given: Given | None = None) -> Tensor:
        return mask.asked.gather(tokens.values[..., :3]).flatten(2)

    def restore(self, prediction: Prediction, tokens: Tokens, mask: Mask) -> Tensor:
        """Predicted patches ``[B, M, k (3 + C)]``, as a person would judge them.

        A set has no order, so predicted points stand in that of the true ones that they are paired with, by the
        pairing of least squared distance. Channels, which nobody predicts, are the mean of what is visible.
        """
        truth = prediction.asked.gather(tokens.values)  # [B, M, k, 3 + C]
        points = prediction.values.detach().float().unflatten(-1, (-1, 3))
        cost = torch.cdist(truth[..., :3].float(), points).square().flatten(0, 1).cpu().numpy()  # [B * M, k, k]
        order = torch.stack([torch.from_numpy(linear_sum_assignment(one)[1]) for one in cost])
        order = order.to(points.device).view(*points.shape[:-1], 1).expand_as(points)
        points = points.gather(2, order)
        visible = ~mask.hidden if mask.valid is None else ~mask.hidden & mask.valid  # [B, N]
        share = visible / visible.sum(1, keepdim=True).clamp(min=1)
        channels = tokens.values[..., 3:].float().mean(2).masked_fill(~visible[..., None], 0)  # [B, N, C]
        channels = (channels * share[..., None]).sum(1)[:, None, None].expand(*points.shape[:3], -1)
        return torch.cat([points, channels], dim=-1).flatten(2)
