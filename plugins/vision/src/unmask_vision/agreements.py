"""What a model of images and its data must agree on: patches, channels, and sides in pixels."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import lightning as L
from timm.models.vision_transformer_relpos import VisionTransformerRelPos

from unmask import MaskedModel
from unmask.agreements import Agreement
from unmask_vision.data.augment import sides
from unmask_vision.data.module import ImageData
from unmask_vision.data.scale import Scale
from unmask_vision.encoders.maps import MapEncoder
from unmask_vision.encoders.swin import SwinV2Encoder
from unmask_vision.encoders.vit import ViTEncoder
from unmask_vision.tokenizer import PatchTokenizer

_SCALE = "vision.scale"
Otherwise = Literal["refused", "made to agree", "told"]


class SamePatches(Agreement):
    """The tokenizer and the encoder must have one `patch_size` and one number of `channels`; else it is refused.

    They are both made from the options of the method, unless an encoder is given.
    """

    between: ClassVar[tuple[str, str]] = ("model.patch_size", "model.encoder.patch_size")
    otherwise: ClassVar[Otherwise] = "refused"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        embed = _embed(model)
        tokenizer = _tokenizer(model)
        encoder = getattr(model, "encoder", None)
        maps = encoder.channels if isinstance(encoder, MapEncoder) else None
        if maps is not None and isinstance(tokenizer, PatchTokenizer) and maps != tokenizer.channels:
            raise ValueError(
                f"`model.channels` must be {maps}, the `channels` of the encoder, but is {tokenizer.channels}."
            )
        if embed is None:
            return None
        theirs = {"patch_size": embed.patch_size[0], "channels": embed.proj.in_channels}
        for name, value in theirs.items():
            if getattr(tokenizer, name) != value:
                raise ValueError(
                    f"`model.{name}` must be {value}, the `{name}` of the encoder, but is {getattr(tokenizer, name)}."
                )
        return None


class SameChannels(Agreement):
    """`data.channels` must be `channels` of the model; another number is refused."""

    between: ClassVar[tuple[str, str]] = ("data.channels", "model.channels")
    otherwise: ClassVar[Otherwise] = "refused"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        channels = getattr(data, "channels", None)
        if isinstance(_tokenizer(model), PatchTokenizer) and isinstance(channels, int):
            _check_channels(model, channels, "`data.channels`")
        return None


class SameImageSize(Agreement):
    """`data.image_size` must be `image_size` of the model, a multiple of its `patch_size`; another size is refused, but
    a trained encoder is given it by `--data`, its positions resampled.
    """

    between: ClassVar[tuple[str, str]] = ("data.image_size", "model.image_size")
    otherwise: ClassVar[Otherwise] = "refused"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        if (size := _size(model, data)) is not None:
            _check_size(model, *size, "`data.image_size`")
        return None

    def check_other(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        size, embed = _size(model, data), _embed(model)
        if size is None or embed is None or not _takes_any_grid(model):
            return self.check(model, data)
        _check_multiple(model, *size, "`data.image_size`")
        if size == tuple(embed.img_size):
            return None
        return (
            f"Images are {_sides(*size)} pixels, and the encoder was trained on {_sides(*embed.img_size)}: its "
            "positions are resampled."
        )


class SameImages(Agreement):
    """Images as they are read must have the `channels` and the `image_size` of the model; others are refused.

    This is for data that has no such options, or leaves them open.
    """

    between: ClassVar[tuple[str, str]] = ("the images", "model.image_size")
    otherwise: ClassVar[Otherwise] = "refused"
    reads_data: ClassVar[bool] = True

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        if (shape := self._shape(model, data)) is not None:
            _check_size(model, *shape, "The side of the images")
        return None

    def check_other(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        if _embed(model) is None or not _takes_any_grid(model):
            return self.check(model, data)
        if (shape := self._shape(model, data)) is not None:
            _check_multiple(model, *shape, "The side of the images")
        return None

    def _shape(self, model: L.LightningModule, data: L.LightningDataModule) -> tuple[int, int] | None:
        """Height and width of an image, whose channels are right; None: there is no image to look at."""
        splits: Any = getattr(data, "splits", None)
        if splits is None or not isinstance(_tokenizer(model), PatchTokenizer) or not len(splits.val):
            return None
        sample = splits.val[0]
        image: Any = sample.get("image") if isinstance(sample, dict) else None
        if getattr(image, "ndim", 0) != 3:
            return None
        channels, height, width = image.shape
        _check_channels(model, channels, "The number of channels of the images")
        return height, width


class KeptScale(Agreement):
    """What 0 and 1 stand for in numbers of images, by `data.scale`, is kept with the model, and taken again when a run
    goes on, so that a number keeps its value when images are added.
    """

    between: ClassVar[tuple[str, str]] = ("data.scale", "the scale that the model was trained with")
    otherwise: ClassVar[Otherwise] = "made to agree"
    reads_data: ClassVar[bool] = True
    remembers: ClassVar[bool] = True

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        if not isinstance(model, MaskedModel) or not isinstance(data, ImageData):
            return None
        if _SCALE in model.agreed:
            return _take_scale(model, data)
        if data.numbers.scale is not None:
            model.agreed[_SCALE] = [list(ends) for ends in data.numbers.scale]
        return None


class TrainedScale(Agreement):
    """Other data of a trained model takes the scale that it was trained with, unless it names a `range` or `stats`."""

    between: ClassVar[tuple[str, str]] = ("data.scale", "the scale that the model was trained with")
    otherwise: ClassVar[Otherwise] = "made to agree"

    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        if isinstance(model, MaskedModel) and isinstance(data, ImageData) and _SCALE in model.agreed:
            return _take_scale(model, data)
        return None


def _take_scale(model: Any, data: ImageData) -> str | None:
    kept = Scale(*(tuple(ends) for ends in model.agreed[_SCALE]))
    if data.given_scale() == kept:
        return None
    if data.scale == "range" or data.stats is not None:
        return f"The model was trained with {kept} as 0 and 1, but `data.scale` is given and goes first."
    data.settle(kept)
    return f"Numbers are scaled as in training: {kept} become 0 and 1."


def _tokenizer(model: L.LightningModule) -> Any:
    return getattr(model, "tokenizer", None)


def _embed(model: L.LightningModule) -> Any:
    """timm's patch embedding of the model's encoder; None where the model is of another kind."""
    if not isinstance(_tokenizer(model), PatchTokenizer):
        return None
    if isinstance(model.encoder, ViTEncoder):
        return model.encoder.vit.patch_embed
    return model.encoder.swin.patch_embed if isinstance(model.encoder, SwinV2Encoder) else None


def _size(model: L.LightningModule, data: L.LightningDataModule) -> tuple[int, int] | None:
    """Height and width that the data gives its images; None where it leaves them open, or the model is of another
    kind."""
    size = getattr(data, "image_size", None)
    return None if size is None or not isinstance(_tokenizer(model), PatchTokenizer) else sides("image_size", size)


def _takes_any_grid(model: Any) -> bool:
    """Whether the positions of all encoders of the model can be resampled as it runs."""
    vits = [part.vit for part in model.modules() if isinstance(part, ViTEncoder)]
    return not any(isinstance(vit, VisionTransformerRelPos) and vit.shared_rel_pos is None for vit in vits)


def _check_channels(model: L.LightningModule, channels: int, what: str) -> None:
    """Compares the number of channels of the images, which ``what`` names, with the model's."""
    takes = _tokenizer(model).channels
    if channels != takes:
        raise ValueError(f"{what} must be {takes}, the `model.channels`, but is {channels}: give both the same.")


def _check_size(model: L.LightningModule, height: int, width: int, what: str) -> None:
    """Compares the sides of the images, which ``what`` names, with the model's."""
    patch, embed = _patch(model), _embed(model)
    if embed is not None and (height // patch, width // patch) != tuple(embed.grid_size):
        raise ValueError(
            f"{what} must be {_sides(*embed.img_size)}, the `model.image_size` that the encoder's positions are made "
            f"for, but is {_sides(height, width)}: give both the same."
        )
    _check_multiple(model, height, width, what)


def _check_multiple(model: L.LightningModule, height: int, width: int, what: str) -> None:
    """Compares the sides of the images, which ``what`` names, with the model's patches."""
    patch = _patch(model)
    if height % patch or width % patch:
        nearest = (max(round(side / patch), 1) * patch for side in (height, width))
        raise ValueError(
            f"{what} must be a multiple of {patch}, the `model.patch_size`, but is {_sides(height, width)}; "
            f"nearest: {_sides(*nearest)}."
        )


def _patch(model: L.LightningModule) -> int:
    embed = _embed(model)
    return _tokenizer(model).patch_size if embed is None else embed.patch_size[0]


def _sides(height: int, width: int) -> str:
    return f"{height}" if height == width else f"{height} x {width}"
