"""Random crop and flip, the only augmentation of masked-image papers (MAE, He et al. 2021, section 4).

Samples are dicts whose ``image`` is a ``[C, H, W]`` tensor of any number of channels, uint8 or float.
All randomness comes from torch's global generator, which the data module keys per sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from unmask.api import inside

Sample = dict[str, Any]
Augment = Callable[[Sample], Sample]
Size = int | tuple[int, int]
"""Of images in pixels: the side of a square, or height and width."""

AUGMENTATIONS = ("crop-flip", "none")


class RandomResizedCropFlip:
    """A random part of the image, resized bicubically to one size, mirrored half of the time.

    Args:
        size: of the result in pixels: the side of a square, or (height, width); None: the image's own.
        scale: smallest and largest share of the image's area that a crop covers, in (0, 1]; MAE and
            SimMIM use (0.2, 1) and (0.67, 1), I-JEPA (0.3, 1). Aspect ratios lie in [3/4, 4/3] times that of the
            result, so that nothing is stretched more in a rectangle than in a square.
        flip: mirror left and right with probability 1/2; I-JEPA's code does not.

    Raises:
        ValueError: a size below 1, or a scale that is not 0 < smallest <= largest <= 1.
    """

    def __init__(self, size: Size | None = 224, scale: tuple[float, float] = (0.2, 1.0), flip: bool = True) -> None:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"`scale` must be two numbers with 0 < smallest <= largest <= 1, but is {scale}.")
        self.size = None if size is None else sides("size", size)
        self.scale = scale
        self.flip = flip

    def __call__(self, sample: Sample) -> Sample:
        image = sample["image"]  # [C, H, W]
        out = list(image.shape[-2:] if self.size is None else self.size)
        aspects = [3 / 4, 4 / 3] if out[0] == out[1] else [3 / 4 * out[1] / out[0], 4 / 3 * out[1] / out[0]]
        top, left, height, width = RandomResizedCrop.get_params(image, list(self.scale), aspects)
        image = _resize(image[:, top : top + height, left : left + width], out)
        if self.flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
        return {**sample, "image": image}


class NestedCrops:
    """A random part of the image, and a random part of that as ``local``: CropMAE's two views (Eymael et al. 2024).

    Args:
        size: of both in pixels: the side of a square, or (height, width); None: the image's own.
        scale: smallest and largest share of the image's area that the first one covers, in (0, 1]. The paper's.
        local_scale: likewise of the first one's area, for the second. The paper's.
        flip: mirror each left and right with probability 1/2, by itself.

    Raises:
        ValueError: as `RandomResizedCropFlip`.
    """

    def __init__(
        self,
        size: Size | None = 224,
        scale: tuple[float, float] = (0.1, 1.0),
        local_scale: tuple[float, float] = (0.3, 0.6),
        flip: bool = True,
    ) -> None:
        self.whole = RandomResizedCropFlip(size, scale, flip)
        self.local = RandomResizedCropFlip(size, local_scale, flip)

    def __call__(self, sample: Sample) -> Sample:
        whole = self.whole(sample)
        return {**whole, "local": self.local(whole)["image"]}


class TwoViews:
    """Two random parts of one image, each changed by itself: ``image`` and ``second`` (iBOT, Zhou et al. 2021; CroCo,
    Weinzaepfel et al. 2022, where two photographs of a scene are not at hand).

    Args:
        size: of both in pixels: the side of a square, or (height, width); None: the image's own.
        scale: smallest and largest share of the image's area that each covers, in (0, 1].
        flip: mirror each left and right with probability 1/2, by itself.
        jitter: strength of changes in brightness and contrast, in [0, 1]: each is multiplied by a number drawn evenly
            from ``1 - jitter`` to ``1 + jitter``.

    Raises:
        ValueError: as `RandomResizedCropFlip`; ``jitter`` outside its range.

    Differs from the papers in that hues are not changed, and nothing is blurred or solarised.
    """

    def __init__(
        self,
        size: Size | None = 224,
        scale: tuple[float, float] = (0.4, 1.0),
        flip: bool = True,
        jitter: float = 0.4,
    ) -> None:
        inside("[0, 1]", jitter=jitter)
        self.crop = RandomResizedCropFlip(size, scale, flip)
        self.jitter = jitter

    def __call__(self, sample: Sample) -> Sample:
        first, second = (self._changed(self.crop(sample)["image"]) for _ in range(2))
        return {**sample, "image": first, "second": second}

    def _changed(self, image: Tensor) -> Tensor:
        if not self.jitter:
            return image
        bright, contrast = (1 + self.jitter * (2 * torch.rand(2) - 1)).tolist()
        most = 1.0 if image.is_floating_point() else 255.0
        values = image.float() * bright
        values = ((values - values.mean()) * contrast + values.mean()).clamp(0, most)
        return values if image.is_floating_point() else values.round().to(image.dtype)


class CenterCrop:
    """The largest part in the middle that has the shape of the result, resized bicubically: what validation and
    probes see.

    The same region as resizing the image until it covers the result and cropping, but a 1 x 100,000 image stays small.

    Args:
        size: of the result in pixels: the side of a square, or (height, width).

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, size: Size = 224) -> None:
        self.size = sides("size", size)

    def __call__(self, sample: Sample) -> Sample:
        image = sample["image"]  # [C, H, W]
        top, left, rows, columns = middle(image.shape[-2], image.shape[-1], self.size)
        image = _resize(image[:, top : top + rows, left : left + columns], list(self.size))
        return {**sample, "image": image}


def middle(height: int, width: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the largest part in the middle that has the shape of ``size``."""
    rows, columns = size
    if height * columns <= width * rows:  # the image is wider than the result
        kept = height, max(round(height * columns / rows), 1)
    else:
        kept = max(round(width * rows / columns), 1), width
    return (height - kept[0]) // 2, (width - kept[1]) // 2, *kept


class Transformed(Dataset):
    """A data set seen through a transform that has no randomness."""

    def __init__(self, dataset: Dataset, transform: Augment) -> None:
        self.dataset = dataset
        self.transform = transform

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Sample:
        return self.transform(self.dataset[index])


def augmentation(
    name: str | Augment, size: Size | None, scale: tuple[float, float] = (0.2, 1.0), flip: bool = True
) -> Augment | None:
    """The augmentation of that name, ``crop-flip`` or ``none``, or the one given.

    ``scale`` and ``flip`` are `RandomResizedCropFlip`'s and count for ``crop-flip`` alone.

    Raises:
        ValueError: an unknown name, or as `RandomResizedCropFlip`.
    """
    crop_flip = RandomResizedCropFlip(size, scale, flip)  # refuses what it cannot do even where it is not used
    if callable(name):
        return name
    if name == "crop-flip":
        return crop_flip
    if name == "none":
        return None if size is None else CenterCrop(size)
    raise ValueError(f"`augment` must be 'crop-flip', 'none' or a callable, but is {name!r}.")


def _resize(image: Tensor, size: list[int]) -> Tensor:
    if list(image.shape[-2:]) == size:
        return image.clone()
    resized = F.resize(image, size, InterpolationMode.BICUBIC, antialias=True)
    # Bicubic weights overshoot; uint8 is clamped by torchvision, floats are not.
    return resized.clamp(image.min(), image.max()) if image.is_floating_point() else resized


def shorter_side(image_size: Size, crop_scale: tuple[float, float]) -> int:
    """Pixels that an image's shorter side must have, so that its smallest crop needs no enlarging.

    Args:
        image_size: of crops, once they are resized.
        crop_scale: least and greatest share of the area that is cropped.
    """
    height, width = sides("image_size", image_size)
    # The shorter side of the smallest crop is sqrt(0.75 * share) of the image's; twice leaves room.
    return max(math.ceil(2 * math.sqrt(height * width / crop_scale[0])), height, width)


def sides(name: str, size: Any) -> tuple[int, int]:
    """Height and width of a size in pixels, one number being the side of a square.

    Raises:
        ValueError: other than one or two whole numbers, or one below 1.
    """
    pair = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(pair) != 2 or any(isinstance(side, bool) or not isinstance(side, int) for side in pair):
        raise ValueError(
            f"`{name}` must be one whole number, the side of square images, or two, their height and width, but is "
            f"{size!r}."
        )
    if min(pair) < 1:
        raise ValueError(f"`{name}` must be at least 1 pixel, but is {size}.")
    return pair
