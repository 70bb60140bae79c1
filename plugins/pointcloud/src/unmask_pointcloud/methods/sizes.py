"""Sizes of point transformers, which the methods share. Heads are 64 wide, as in the papers."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from unmask_pointcloud.encoders.point_transformer import PointTransformer

Size = Literal["tiny", "small"]


class Sizes(NamedTuple):
    """Width, blocks, the PointNet's h, and blocks of Point-MAE's decoder."""

    width: int
    depth: int
    pointnet_width: int
    decoder_depth: int


SIZES = {
    "tiny": Sizes(192, 6, 32, 2),  # ours, for a processor without accelerator
    "small": Sizes(384, 12, 128, 4),  # the one of the papers
}


def encoder_of(sizes: Sizes, channels: int, **settings: Any) -> PointTransformer:
    """A fresh encoder; ``settings`` are of `PointTransformer`."""
    return PointTransformer(
        sizes.width, sizes.depth, heads(sizes.width), channels, pointnet_width=sizes.pointnet_width, **settings
    )


def heads(width: int) -> int:
    """How many attention heads a transformer of this width has."""
    return max(width // 64, 1)
