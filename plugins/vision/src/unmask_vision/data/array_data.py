"""Arrays of images as a data module: no folder of files, and no Python."""

from __future__ import annotations

from typing import Any, Literal

from unmask.api import at_least
from unmask_vision.data.array_source import ArraySource
from unmask_vision.data.augment import Size
from unmask_vision.data.module import ImageData


class ArraysData(ImageData):
    """Images ``[channels, height, width]`` of an array ``[n, H, W]``, ``[n, H, W, C]`` or ``[n, C, H, W]`` in a file:
    ``.npy``, ``.npz``, IDX (``.gz`` too) or HDF5.

    Args:
        images: the file. ``.npy``, plain IDX and HDF5 are read image by image, so they may be larger than the memory.
        labels: a file of labels, one for each image, of the same kinds: whole numbers or words are classes, real
            numbers are numbers, rows are several numbers. None: those that ``images`` holds under a usual name, if any.
        image_key: the images' name in a ``.npz`` or HDF5 file; None: the only array of images, or one of a usual name.
        label_key: the labels' name; None: one of a usual name, such as ``labels`` or ``y``.
        val_images: another such file, for validation; None: a fixed random part of ``images``.
        val_labels: its labels.

    Raises:
        ValueError: in `setup`, a file that is missing or of another kind, a name that it lacks, or not as many labels
            as images; also as `ImageData`.

    Further arguments are those of `ImageData`.
    """

    def __init__(
        self,
        images: str,
        labels: str | None = None,
        image_key: str | None = None,
        label_key: str | None = None,
        val_images: str | None = None,
        val_labels: str | None = None,
        image_size: Size = 224,
        channels: int = 3,
        augment: Literal["crop-flip", "none"] = "crop-flip",
        **shared: Any,
    ) -> None:
        at_least(1, channels=channels)
        source = ArraySource(images, labels, image_key, label_key, val_images, val_labels, channels)
        super().__init__(source=source, image_size=image_size, channels=channels, augment=augment, **shared)
