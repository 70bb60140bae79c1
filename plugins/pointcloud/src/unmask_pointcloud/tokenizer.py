"""Point tokenizer: a cloud as patches around farthest points (Point-BERT, Yu et al. 2022, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask import Prediction, Tokenizer, Tokens
from unmask.api import at_least
from unmask_pointcloud.descriptors import descriptors
from unmask_pointcloud.drawing import two_views
from unmask_pointcloud.layout import Points
from unmask_pointcloud.ops import point_patches
from unmask_pointcloud.ply import ply_bytes


class PointTokenizer(Tokenizer):
    """``[B, N, 3 + C]`` to values ``[B, G, k, 3 + C]``: patches of k points, relative to their centres.

    Centres are farthest points, the first of them the cloud's first point; a patch is a centre's k nearest points,
    nearest first. Patches overlap. Coordinates keep the unit of the data (no patch is scaled, as in Point-MAE's
    code), other channels are as they were. Centres are the tokens' positions, ``[B, G, 3]``.

    Args:
        num_patches: G, at least 2. A cloud of fewer points has as many tokens as points; the rest is padding.
        patch_size: k, points of a patch, at least 1. A cloud of fewer points repeats the nearest.
        channels: C, numbers of a point beside its coordinates (normal, colour, intensity), at least 0.

    Raises:
        ValueError: a count below its minimum; clouds of another number of channels, without points, or with a
            number that is NaN or infinite.
    """

    def __init__(self, num_patches: int = 64, patch_size: int = 32, channels: int = 0) -> None:
        super().__init__()
        at_least(2, num_patches=num_patches)
        at_least(1, patch_size=patch_size)
        at_least(0, channels=channels)
        self.num_patches = num_patches
        self.patch_size = patch_size
        self.channels = channels

    def forward(self, batch: Mapping[str, Any] | Tensor) -> Tokens:
        """Tokens of ``batch["points"]`` (``batch["valid"]`` ``[B, N]`` is False at padding), or of a bare tensor."""
        points = batch["points"] if isinstance(batch, Mapping) else batch  # [B, N, 3 + C]
        valid = batch.get("valid") if isinstance(batch, Mapping) else None
        if points.ndim != 3 or points.shape[-1] != 3 + self.channels:
            raise ValueError(
                f"`points` must be [clouds, points, 3 + `channels` {self.channels}], but is {list(points.shape)}."
            )
        patches = point_patches(points[..., :3], self.num_patches, self.patch_size, valid)
        values = patches.points  # [B, G, k, 3]
        if self.channels:
            more = patches.gather(points[..., 3:])
            if not torch.compiler.is_exporting() and not bool(more.isfinite().all()):
                raise ValueError("Every channel of `points` must be finite, but one is NaN or infinite.")
            values = torch.cat([values, more], dim=-1)
        few = valid is not None or points.shape[1] < self.num_patches  # else no cloud is too small
        real = patches.valid if few and not bool(patches.valid.all()) else None
        return Tokens(values, Points(patches.centres), patches.centres, real)

    def render(self, tokens: Tokens, hidden: Tensor | None = None) -> list[np.ndarray]:
        """Two views of each cloud, hidden patches in grey."""
        assert tokens.positions is not None
        clouds = zip(self._clouds(tokens, hidden), tokens.positions.float().cpu().numpy(), strict=True)
        return [two_views(points[:, :3], unseen, centres) for (points, unseen), centres in clouds]

    def files(
        self, tokens: Tokens, hidden: Tensor | None = None, prediction: Prediction | None = None
    ) -> dict[str, list[bytes]]:
        """``.ply`` of each cloud's points, those of hidden patches left out."""
        clouds = [points if unseen is None else points[~unseen] for points, unseen in self._clouds(tokens, hidden)]
        return {".ply": [ply_bytes(points[:, :3], points[:, 3:]) for points in clouds]}

    def raw(self, tokens: Tokens) -> Tensor:
        """What a cloud looks like from afar, without learning, ``[B, F]``: see `descriptors`."""
        return descriptors(tokens)

    @staticmethod
    def _clouds(tokens: Tokens, hidden: Tensor | None) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Each cloud's points ``[n, 3 + C]`` where they lie in space, and which are of hidden patches ``[n]``."""
        assert tokens.positions is not None
        clouds: list[tuple[np.ndarray, np.ndarray | None]] = []
        for number, (patches, centres) in enumerate(zip(tokens.values, tokens.positions, strict=True)):
            points = patches.detach().float().clone()  # [G, k, 3 + C]
            points[..., :3] += centres[:, None]
            unseen = None if hidden is None else hidden[number][:, None].expand(points.shape[:2])
            if tokens.valid is not None:
                points = points[tokens.valid[number]]
                unseen = None if unseen is None else unseen[tokens.valid[number]]
            cloud = points.flatten(0, 1).cpu().numpy()
            clouds.append((cloud, None if unseen is None else unseen.flatten().cpu().numpy()))
        return clouds
