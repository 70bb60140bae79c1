"""Classes of places as labels: the images of another data module, each with a mask file of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from unmask.api import IGNORED, at_least
from unmask.data import MaskedDataModule, Sample, Splits
from unmask_vision.data.augment import CenterCrop, Transformed, middle
from unmask_vision.data.module import ImageData, Images

ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Of mask files, without loss: a JPEG would blur classes."""
MODES = ("1", "L", "P", "I", "I;16")
"""Pixels that are one whole number each, as PIL calls them."""


class MaskLabels(MaskedDataModule):
    """Images of ``images`` with the class of each cell, ``stride`` x ``stride`` pixels, as their ``label`` ``[N]``.

    A mask is cropped as its image is in validation, and resized to the nearest pixel; a cell has the most frequent
    class of its pixels. All images to train on are labelled, and all to validate on.

    Args:
        images: data whose images have files of their own, of one size.
        masks: folder of masks: the path of a mask below it is that of its image below the folder of images, with the
            ending of a format without loss.
        stride: side of a cell in pixels, at least 1; must divide the images' sides.
        ignore: the number of pixels without a class; None: all have one.
        flip: mirror half of the training images and their labels left and right.

    Raises:
        ValueError: a stride that does not divide the images; in `splits`, an image without a mask, or a mask that is
            of another shape or has several numbers a pixel.
    """

    sample_name = "images"

    def __init__(
        self, images: ImageData, masks: str, stride: int = 4, ignore: int | None = 255, flip: bool = True
    ) -> None:
        at_least(1, stride=stride)
        if images.image_size is None:
            raise ValueError("`image_size` of the images must be given to segment them, but is null.")
        size = CenterCrop(images.image_size).size
        if size[0] % stride or size[1] % stride:
            raise ValueError(f"`stride` must divide the images' sides, {size[0]} and {size[1]}, but is {stride}.")
        super().__init__(
            batch_size=images.batch_size, num_workers=images.num_workers, val_batch_size=images.val_batch_size,
            augment=Flip((size[0] // stride, size[1] // stride)) if flip else None, drop_last=images.drop_last,
        )  # fmt: skip
        self.images, self.masks, self.size = images, Path(masks).expanduser(), size
        self.stride, self.ignore = stride, ignore

    def load(self) -> Splits:
        parts = []
        for split in (self.images.splits.train, self.images.splits.val):
            inner = split.dataset if isinstance(split, Transformed) else split
            if not isinstance(inner, Images):
                raise ValueError("Segmentation needs images in files of their own, but this data has others.")
            parts.append(Labelled(inner, [self.mask_of(item.name) for item in inner.items], self))
        return Splits(*parts, *parts)

    def mask_of(self, name: str) -> Path:
        """The mask of the image of that name.

        Raises:
            ValueError: there is none.
        """
        found = [path for ending in ENDINGS if (path := (self.masks / name).with_suffix(ending)).is_file()]
        if not found:
            raise ValueError(f"Each image must have a mask of its name in `{self.masks}`, but {name} has none.")
        return found[0]

    def classes_of(self, path: Path, height: int, width: int) -> Tensor:
        """Classes of the cells of a mask ``[N]`` int64, for an image of that size.

        Raises:
            ValueError: a mask of several numbers a pixel, or of another shape than its image.
        """
        with Image.open(path) as file:
            if file.mode not in MODES:
                raise ValueError(f"A mask must have one whole number a pixel, but {path} has {file.mode}.")
            mask = torch.from_numpy(np.array(file).astype(np.int64))  # [H, W]
        if abs(mask.shape[0] * width - mask.shape[1] * height) > max(mask.shape[0] + mask.shape[1], height + width):
            raise ValueError(
                f"A mask must have the shape of its image, {height} x {width}, but {path} has {mask.shape[0]} x "
                f"{mask.shape[1]}."
            )
        top, left, rows, columns = middle(mask.shape[0], mask.shape[1], self.size)
        mask = mask[top : top + rows, left : left + columns]
        mask = F.resize(mask[None].float(), list(self.size), InterpolationMode.NEAREST_EXACT)[0].long()
        if self.ignore is not None:
            mask = mask.masked_fill(mask == self.ignore, IGNORED)
        s = self.stride
        cells = mask.unfold(0, s, s).unfold(1, s, s).flatten(2)  # [R, C, s * s]
        return cells.mode(-1).values.flatten()


class Labelled(Dataset):
    """Images, cropped in their middle, with the classes of their cells."""

    def __init__(self, images: Images, masks: list[Path], like: MaskLabels) -> None:
        self.images, self.masks, self.like = images, masks, like
        self.crop = CenterCrop(like.size)

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self.images[index]
        label = self.like.classes_of(self.masks[index], *sample["image"].shape[-2:])
        return {"image": self.crop(sample)["image"], "label": label}


class Flip:
    """Mirrors half of the images left and right, and the classes of their cells with them.

    Args:
        grid: rows and columns of cells.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        self.grid = grid

    def __call__(self, sample: Sample) -> Sample:
        if torch.rand(()) < 0.5:
            return sample
        label = sample["label"].view(self.grid).flip(-1).flatten()
        return {**sample, "image": sample["image"].flip(-1), "label": label}
