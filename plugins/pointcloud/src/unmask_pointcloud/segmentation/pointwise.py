"""Codes of points from codes of patches, by the three nearest centres (PointNet++, Qi et al. 2017, section 3.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unmask import Embedder, Encoder, Latent, Mask, MaskedModel, Tokenizer, Tokens
from unmask_pointcloud.encoders.point_transformer import PointTransformer
from unmask_pointcloud.layout import Points
from unmask_pointcloud.ops import knn

NEAREST = 3
"""Centres that a point's code is mixed of."""
DEPTHS = (1 / 3, 2 / 3, 1)
"""Of the blocks whose codes are used: of 12, the 4th, 8th and 12th."""


class Pointwise(MaskedModel):
    """A pretrained model as segmentation sees it: every point is a token and has a code of its own.

    It differs in `embedder`, which `unmask.tools.finetune` uses. All parts are the given model's.

    Raises:
        ValueError: a model whose encoder is no `PointTransformer`.
    """

    def __init__(self, model: MaskedModel) -> None:
        used = model.embedder
        encoder = used.encoder
        if not isinstance(encoder, PointTransformer):
            raise ValueError(f"The encoder must be a PointTransformer to segment, but is a {type(encoder).__name__}.")
        super().__init__(
            tokenizer=model.tokenizer, mask=model.mask, encoder=model.encoder, predictor=model.predictor,
            target=model.target, loss=model.loss, corruption=model.corruption, optim=model.optim,
        )  # fmt: skip
        self.points = PointwiseEncoder(used.tokenizer, encoder)

    @property
    def embedder(self) -> Embedder:
        return Embedder(PointwiseTokenizer(), self.points)


class PointwiseTokenizer(Tokenizer):
    """Every point a token: values ``[B, N, 3 + C]``, positions ``[B, N, 3]``."""

    def forward(self, batch: Mapping[str, Any]) -> Tokens:
        points = batch["points"]
        return Tokens(points, Points(points[..., :3]), points[..., :3], batch.get("valid"))


class PointwiseEncoder(Encoder):
    """A code for each point ``[B, N, 5 D + 3]``, without weights of its own.

    In this order: codes of patches after a third, two thirds and all of the blocks, mixed of the three nearest
    centres by ``1 / squared distance``; the cloud's greatest and mean code after all blocks; the point's place.

    Args:
        tokenizer: cuts clouds into patches.
        encoder: makes their codes.

    Differs from Point-MAE's released segmentation in that the greatest and the mean code are those of the last block
    (there of all three), in having no code of the object's class, and in the head, which is that of
    `unmask.tools.finetune`: one layer or two (there five, with dropout between).
    """

    num_layers = 1

    def __init__(self, tokenizer: Tokenizer, encoder: PointTransformer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.width = 5 * encoder.width + 3

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        """As `Encoder`; nothing can be hidden, and there is one layer."""
        self.depth(layer)
        if mask is not None:
            raise ValueError("PointwiseEncoder must see every point, but was given a mask.")
        patches = self.tokenizer({"points": tokens.values, "valid": tokens.valid})
        layers = self.encoder.layers(patches)
        codes = torch.cat([layers[max(round(depth * len(layers)), 1) - 1] for depth in DEPTHS], dim=-1)  # [B, G, 3 D]
        assert tokens.positions is not None
        assert patches.positions is not None
        local = interpolated(tokens.positions, patches.positions, codes, tokens.valid, patches.valid)
        last = Latent(layers[-1]).pool("max", patches.places), Latent(layers[-1]).pool("mean", patches.places)
        whole = torch.cat(last, dim=-1)[:, None].expand(-1, local.shape[1], -1)  # [B, N, 2 D]
        return Latent(torch.cat([local, whole, tokens.positions.to(local.dtype)], dim=-1))


def interpolated(
    points: Tensor,
    centres: Tensor,
    codes: Tensor,
    valid: Tensor | None = None,
    valid_centres: Tensor | None = None,
) -> Tensor:
    """Codes of ``points``, ``sum_i w_i c_i / sum_i w_i`` over the three nearest centres, ``w = 1 / (d^2 + 1e-8)``.

    Args:
        points: ``[B, N, 3]``.
        centres: ``[B, G, 3]``; of fewer than three, there are as many summands.
        codes: of centres ``[B, G, D]``.
        valid: ``[B, N]`` bool, False at padding, whose code is 0.
        valid_centres: ``[B, G]`` bool, likewise, of centres, which are never near.

    Returns:
        ``[B, N, D]``.
    """
    near = knn(points, centres, min(NEAREST, centres.shape[1]), valid_centres)
    weight = near.valid / (near.squared_distance + 1e-8)  # [B, N, 3]
    weight = (weight / weight.sum(-1, keepdim=True)).to(codes.dtype)
    mixing = codes.new_zeros(*points.shape[:2], centres.shape[1])  # [B, N, G]
    mixing = mixing.scatter_add(2, near.indices, weight)
    made = mixing @ codes
    return made if valid is None else made.masked_fill(~valid[..., None], 0)
