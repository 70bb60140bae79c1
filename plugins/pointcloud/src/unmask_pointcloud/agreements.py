"""What a model of point clouds and its data must agree on: channels of points, and sizes of clouds and patches."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import lightning as L

from unmask import MaskedModel
from unmask.agreements import Agreement
from unmask_pointcloud.data.clouds import CHANNELS
from unmask_pointcloud.data.module import PointCloudData
from unmask_pointcloud.tokenizer import PointTokenizer

Otherwise = Literal["refused", "made to agree", "told"]
LARGEST_PATCH = 1 / 4
"""Share of a cloud that a patch may have without a word. In Point-MAE it is 1/32."""


class Channels(Agreement):
    """`data.channels` must have as many numbers as `channels` of the tokenizer and of the encoder; else it is refused.

    Normals and colours are three numbers each, an intensity is one.
    """

    between: ClassVar[tuple[str, str]] = ("data.channels", "model.channels")
    otherwise: ClassVar[Otherwise] = "refused"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        if not isinstance(model, MaskedModel) or not isinstance(model.tokenizer, PointTokenizer):
            return None
        tokenizer, encoder = model.tokenizer.channels, getattr(model.encoder, "channels", None)
        if encoder not in (None, tokenizer):
            raise ValueError(
                f"`model.encoder.channels` must be {tokenizer}, the `channels` of the tokenizer, but is {encoder}."
            )
        if isinstance(data, PointCloudData) and data.width - 3 != tokenizer:
            given = ", ".join(f"{name} ({CHANNELS[name]})" for name in data.channels) or "none"
            also = "" if encoder is None else "; so must `model.encoder.channels`, where an encoder is given"
            raise ValueError(
                f"`model.channels` must be {data.width - 3}, the numbers of `data.channels` {given}, but is "
                f"{tokenizer}{also}."
            )
        return None


class EnoughPoints(Agreement):
    """`data.num_points` must be at least `num_patches` and `patch_size` of the tokenizer; fewer points are refused.

    It is told where a patch has more than a quarter of a cloud, so that patches seen hold most of those hidden, and
    where all patches together have fewer points than a cloud.
    """

    between: ClassVar[tuple[str, str]] = ("data.num_points", "model.num_patches")
    otherwise: ClassVar[Otherwise] = "refused"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        tokenizer: Any = getattr(model, "tokenizer", None)
        if not isinstance(tokenizer, PointTokenizer) or not isinstance(data, PointCloudData):
            return None
        points, patches, size = data.num_points, tokenizer.num_patches, tokenizer.patch_size
        for name, value in (("num_patches", patches), ("patch_size", size)):
            if points < value:
                raise ValueError(f"`data.num_points` must be at least {value}, the `model.{name}`, but is {points}.")
        if size > LARGEST_PATCH * points:
            return (
                f"`model.patch_size` is {size} of the {points:,} points of a cloud (`data.num_points`): patches "
                "overlap so much that those seen hold most of those hidden. Point-MAE has 32 of 1,024."
            )
        if patches * size < points:
            return (
                f"`model.num_patches` x `patch_size` is {patches} x {size}: at least {points - patches * size:,} of "
                f"the {points:,} points of a cloud (`data.num_points`) are in no patch."
            )
        return None
