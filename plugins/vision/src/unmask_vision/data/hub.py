"""Image data sets read by the `datasets` library: by name, or from a folder that it has written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch.utils.data import Dataset

from unmask.data import MaskedDataModule, Splits, held_out
from unmask.nearest import nearest
from unmask_vision.data.augment import CenterCrop, Transformed, augmentation
from unmask_vision.data.reading import Unreadable, from_pil, to_float, to_uint8


class HubImagesData(MaskedDataModule):
    """Images ``[channels, image_size, image_size]``, uint8, or float32 in [0, 1] when the first is 16-bit.

    Args:
        name: a data set's name, a folder written by ``save_to_disk``, or anything else that
            ``datasets.load_dataset`` takes.
        config: its configuration, where it has several.
        image_size: side of the square images that the model sees, in pixels.
        channels: 1, 2 (grey, alpha), 3 or 4 (RGB, alpha).
        batch_size: training images per device and step.
        split: part to pre-train on.
        val_split: part to validate and score on; None: ``validation``, ``val``, ``valid`` or
            ``test``, the first that there is, else a fixed random part of ``split``.
        val_ratio: that part, in (0, 1).
        image_column: None: the first column of images.
        label_column: None: the first column of class labels, or of integers named ``label``; none
            at all when there is no such column.
        augment: ``crop-flip`` (random resized crop, flip), ``none`` (centre crop), or a callable on
            samples, which must give images of one size.
        crop_scale: least and greatest share of the area that ``crop-flip`` crops, in (0, 1]. MAE's.
        flip: whether ``crop-flip`` mirrors half of the images left and right.
        num_workers: loading processes per device; None: by the number of images.
        val_batch_size: images per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a value outside its range; in `setup`, no such data set, split or column, or
            `datasets` is not installed.
    """

    sample_name: ClassVar[str] = "images"

    def __init__(
        self,
        name: str,
        config: str | None = None,
        image_size: int = 224,
        channels: int = 3,
        batch_size: int = 256,
        split: str = "train",
        val_split: str | None = None,
        val_ratio: float = 0.05,
        image_column: str | None = None,
        label_column: str | None = None,
        augment: Literal["crop-flip", "none"] | Callable[[dict[str, Any]], dict[str, Any]] = "crop-flip",
        crop_scale: tuple[float, float] = (0.2, 1.0),
        flip: bool = True,
        num_workers: int | None = None,
        val_batch_size: int | None = None,
        drop_last: bool = True,
    ) -> None:
        if channels not in (1, 2, 3, 4):
            raise ValueError(f"`channels` must be 1, 2, 3 or 4, but is {channels}.")
        if not 0 < val_ratio < 1:
            raise ValueError(f"`val_ratio` must be in (0, 1), but is {val_ratio}.")
        augmented = augmentation(augment, image_size, crop_scale, flip)
        super().__init__(batch_size, num_workers, val_batch_size, augmented, drop_last)
        self.set_name = name
        self.config = config
        self.image_size = image_size
        self.channels = channels
        self.split = split
        self.val_split = val_split
        self.val_ratio = val_ratio
        self.image_column = image_column
        self.label_column = label_column

    def load(self) -> Splits:
        parts = _open(self.set_name, self.config)
        whole = _pick(parts, "split", self.split)
        names = [n for n in ("validation", "val", "valid", "test") if n in parts and n != self.split]
        if self.val_split is not None or names:
            train, val = whole, _pick(parts, "val_split", self.val_split or names[0])
        else:
            train, val = (whole.select(places) for places in held_out(len(whole), self.val_ratio))

        image, label = _columns(whole, self.image_column, self.label_column)
        sets = [Rows(part, image, label, self.channels) for part in (train, val)]
        plain = [Transformed(rows, CenterCrop(self.image_size)) for rows in sets]
        sets[1].convert = sets[0].convert
        return Splits(sets[0], plain[1], *(plain if label else ()))


class Rows(Dataset):
    """Rows of one part of a data set as samples, with images of any size."""

    def __init__(self, rows: Any, image: str, label: str | None, channels: int) -> None:
        self.rows = rows.select_columns([image] + ([label] if label else []))
        self.image = image
        self.label = label
        self.channels = channels
        first = self._image(self.rows[0])
        self.convert = to_float if first.is_floating_point() else to_uint8

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            row = self.rows[index]
            image = self._image(row)
        except (Unreadable, OSError) as error:
            raise ValueError(f"Row {index} has an unreadable image in column `{self.image}`: {error}.") from error
        return {"image": self.convert(image)} | ({"label": int(row[self.label])} if self.label else {})

    def _image(self, row: dict[str, Any]) -> torch.Tensor:
        return from_pil(row[self.image], self.channels)


def _open(name: str, config: str | None) -> Any:
    """All parts of a data set, by their names."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError("`vision.datasets` needs the package `datasets`: pip install datasets.") from error
    path = Path(name).expanduser()
    try:
        if (path / "dataset_dict.json").exists():
            return datasets.load_from_disk(str(path))
        if (path / "dataset_info.json").exists():
            return {"train": datasets.load_from_disk(str(path))}
        return datasets.load_dataset(str(path) if path.exists() else name, config)
    except Exception as error:  # the library raises its own, its file systems' and the network's kinds
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"`name` must be a data set that `datasets` can load, but {name!r} is not: {reason}"
        ) from error


def _pick(parts: Any, option: str, name: str) -> Any:
    if name not in parts:
        raise ValueError(f"`{option}` must be one of {', '.join(parts)}, but is {name!r}.")
    return parts[name]


def _columns(rows: Any, image: str | None, label: str | None) -> tuple[str, str | None]:
    """Names of the columns of images and labels."""
    kinds = {name: type(feature).__name__ for name, feature in rows.features.items()}
    for option, name in (("image_column", image), ("label_column", label)):
        if name is not None and name not in kinds:
            hint = nearest(name, kinds, 1) or list(kinds)
            raise ValueError(f"`{option}` must name a column, but is {name!r}. Nearest: {', '.join(hint)}.")
    images = [name for name, kind in kinds.items() if kind == "Image"]
    if image is None and not images:
        raise ValueError(f"The data set must have a column of images, but has only {', '.join(kinds)}.")
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    labels += [name for name in ("label", "labels") if getattr(rows.features.get(name), "dtype", "") == "int64"]
    return image or images[0], label or (labels[0] if labels else None)
