"""Radiance grids: blocks of voxels with a colour and how opaque they are (NeRF-MAE, Irshad et al. 2024,
arXiv:2404.01300)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unmask import Given, Loss, LossValue, Mask, Prediction, Tokens
from unmask.api import inside
from unmask.targets import ValueTarget
from unmask_vision.cubes import CubeTokenizer

FILLED = 0.01
"""Alpha above which a voxel has a colour worth predicting."""


class RadianceTokenizer(CubeTokenizer):
    """Blocks of grids ``[B, 4, depth, height, width]``: red, green, blue, alpha, all in [0, 1].

    Scenes of other sizes are padded at their ends, and ``sizes`` ``[B, 3]`` of the batch says how many voxels of each
    side are real; blocks without one are padding.

    Args:
        cube_size: side of a block in voxels (section 3.2: 4).
        density: whether the fourth channel is the logarithm of a density, as a radiance field gives it; alpha is then
            ``clip(1 - exp(-exp(density) / 100), 0, 1)``.
        key: of the grids in a batch.

    Raises:
        ValueError: as `CubeTokenizer`.
    """

    def __init__(self, cube_size: int | tuple[int, int, int] = 4, density: bool = False, key: str = "volume") -> None:
        super().__init__(cube_size, 4, key=key)
        self.density = density

    def forward(self, batch: Mapping[str, Any] | Tensor) -> Tokens:
        volume = batch if isinstance(batch, Tensor) else batch[self.key]
        if self.density:
            alpha = (1 - torch.exp(-torch.exp(volume[:, 3:]) / 100)).clamp(0, 1)
            volume = torch.cat([volume[:, :3], alpha], dim=1)
        tokens = super().forward(volume)
        real = real_voxels(batch, tuple(volume.shape[2:]))
        if real is None:
            return tokens
        blocks = super().forward(real.to(volume).expand(-1, 4, -1, -1, -1)).values
        return replace(tokens, valid=(blocks > 0).any(-1))


class RadianceTarget(ValueTarget):
    """The voxels of a block; predicted alphas are logits."""

    def restore(self, prediction: Prediction, tokens: Tokens, mask: Mask) -> Tensor:
        voxels = prediction.values.unflatten(-1, (-1, 4))
        return torch.cat([voxels[..., :3], voxels[..., 3:].sigmoid()], dim=-1).flatten(-2)


class RadianceLoss(Loss):
    """``sum of squared colour errors / filled voxels + sum of squared alpha errors / hidden voxels``

    Colours count wherever the true alpha is above 0.01, at visible places too, and all three channels are added; alphas
    count at hidden places, of which padding is none. Predicted alphas are logits. Both numbers of voxels are those of
    the batch.

    Args:
        cube_size: side of a block in voxels, or its sides, depth first: as the tokenizer's.
        filled: alpha above which a voxel has a colour, in [0, 1).

    Raises:
        ValueError: a number out of range; when called, answers of another width.
    """

    def __init__(self, cube_size: int | tuple[int, int, int] = 4, filled: float = FILLED) -> None:
        super().__init__()
        inside("[0, 1)", filled=filled)
        self.blocks = CubeTokenizer(cube_size, channels=1)
        self.filled = filled

    def per_token(self, prediction: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """As if every place were hidden."""
        colour, alpha, filled = self._squares(prediction, target)
        counts = filled.sum(-1).clamp(min=1)
        return (colour * filled).sum(-1) / counts + alpha.mean(-1)

    def forward(self, prediction: Prediction, target: Tensor, given: Given | None = None) -> LossValue:
        self.check(prediction, target)
        asked = prediction.asked
        colour, alpha, filled = self._squares(prediction.values, target)  # [B, M, voxels]
        counted = torch.ones_like(filled)
        if given is not None:
            counted = counted * asked.gather(given.shown.mask.hidden)[..., None]
            real = real_voxels(given.batch, self._sides(given.shown.tokens.layout))
            if real is not None:
                counted = counted * asked.gather(self.blocks(real.to(alpha)).values)
        if asked.valid is not None:
            filled, counted = (one * asked.valid[..., None] for one in (filled, counted))
        colour, alpha = colour * filled, alpha * counted
        num_filled, num_counted = filled.sum().clamp(min=1), counted.sum().clamp(min=1)
        total = colour.sum() / num_filled + alpha.sum() / num_counted
        places = filled[..., 0].numel() if asked.valid is None else asked.valid.sum()
        per_token = places * (colour.sum(-1) / num_filled + alpha.sum(-1) / num_counted)
        return LossValue(total, per_token.detach())

    def _squares(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of colours, summed over channels, of alphas, and which voxels are filled: ``[B, M, voxels]`` each."""
        ours, right = (one.float().unflatten(-1, (-1, 4)) for one in (prediction, target))
        colour = (ours[..., :3] - right[..., :3]).square().sum(-1)
        alpha = (ours[..., 3].sigmoid() - right[..., 3]).square()
        return colour, alpha, (right[..., 3] > self.filled).float()

    def _sides(self, layout: Any) -> tuple[int, ...]:
        """Of the grids, in voxels."""
        return tuple(count * side for count, side in zip(layout.shape, self.blocks.cube_size, strict=True))


def real_voxels(batch: Any, sides: tuple[int, ...]) -> Tensor | None:
    """Which voxels are no padding ``[B, 1, depth, height, width]`` bool; None: all."""
    if not isinstance(batch, Mapping) or "sizes" not in batch:
        return None
    sizes: Tensor = batch["sizes"]  # [B, 3]
    within = [torch.arange(side, device=sizes.device) < sizes[:, axis, None] for axis, side in enumerate(sides)]
    depth, height, width = within  # [B, side] each
    return (depth[:, :, None, None] & height[:, None, :, None] & width[:, None, None, :])[:, None]
