"""Image data sets read by the `datasets` library: by name, or from a folder that it has written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask.api import inside, nearest
from unmask.data import Findings, MaskedDataModule, Splits, chosen_splits, held_out, open_splits
from unmask_vision.data.augment import CenterCrop, Transformed, augmentation, check_side
from unmask_vision.data.hub_labels import Labels, read_labels
from unmask_vision.data.looks import COARSE, NUM_LOOKED, Looks, spread, told
from unmask_vision.data.reading import Unreadable, from_pil, read_image, to_float, to_uint8


class HubImagesData(MaskedDataModule):
    """Images ``[channels, image_size, image_size]``, uint8, or float32 in [0, 1] when any is finer than 8 bits.

    What is odd in 64 images of each part, spread evenly, is counted and named before training; what shows up
    only later is warned about.

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
        label_column: what it may hold, `unmask_vision.data.hub_labels` says; None: the first column
            of class labels, or one named ``label`` or ``labels``; none at all when there is no such
            column.
        augment: ``crop-flip`` (random resized crop, flip), ``none`` (centre crop), or a callable on
            samples, which must give images of one size.
        crop_scale: least and greatest share of the area that ``crop-flip`` crops, in (0, 1]. MAE's.
        flip: whether ``crop-flip`` mirrors half of the images left and right.
        num_workers: loading processes per device; None: by the number of images.
        val_batch_size: images per validation step; None: ``batch_size``.
        drop_last: leave out the last, smaller batch of an epoch.

    Raises:
        ValueError: a value outside its range; in `setup`, no such data set, split or column, labels of
            no such kind, or `datasets` is not installed.
    """

    sample_name: ClassVar[str] = "images"

    def __init__(
        self,
        name: str,
        config: str | None = None,
        image_size: int = 224,
        channels: int = 3,
        split: str = "train",
        val_split: str | None = None,
        val_ratio: float = 0.05,
        image_column: str | None = None,
        label_column: str | None = None,
        augment: Literal["crop-flip", "none"] | Callable[[dict[str, Any]], dict[str, Any]] = "crop-flip",
        crop_scale: tuple[float, float] = (0.2, 1.0),
        flip: bool = True,
        **shared: Any,
    ) -> None:
        check_side("image_size", image_size)
        if channels not in (1, 2, 3, 4):
            raise ValueError(f"`channels` must be 1, 2, 3 or 4, but is {channels}.")
        inside("(0, 1)", val_ratio=val_ratio)
        augmented = augmentation(augment, image_size, crop_scale, flip)
        super().__init__(augment=augmented, **shared)
        self.set_name = name
        self.config = config
        self.image_size = image_size
        self.channels = channels
        self.split = split
        self.val_split = val_split
        self.val_ratio = val_ratio
        self.image_column = image_column
        self.label_column = label_column
        self.looks = Looks()
        self._labels: Labels | None = None
        self._about = ""

    @property
    def classes(self) -> Sequence[str]:
        """Words that labels stand for: those of a class label, or the words themselves, sorted; else empty."""
        return self._labels.classes if self.splits.probe_train is not None and self._labels else ()

    def found(self) -> str:
        return told(super().found(), self.looks, self.classes, self._about)

    def load(self) -> Splits:
        self.looks = Looks()
        parts = open_splits(self.set_name, self.config, "vision.datasets")
        split, val_split = chosen_splits(parts, self.split, self.val_split)
        whole = parts[split]
        if val_split is not None:
            train, val = whole, parts[val_split]
        else:
            train, val = (whole.select(places) for places in held_out(len(whole), self.val_ratio))

        image, label = _columns(whole, self.image_column, self.label_column)
        if label is None:
            others = ", ".join(name for name in whole.column_names if name != image)
            self._about = f"No labels{f'; `label_column` can name one of {others}' if others else ''}."
        elif label not in val.column_names:
            self._about = f"No labels, for the part to validate on has no column `{label}`."
            label = None
        else:
            self._read_labels((train, val), label)
        values = self._labels.values if self._labels else (None, None)
        sets = [Rows(part, image, own, self.channels) for part, own in zip((train, val), values, strict=True)]
        for rows in sets:
            for number in spread(len(rows), NUM_LOOKED):
                self.looks.see(rows.look(number))
            self.looks.findings.add(rows.findings)
        for rows in sets:
            rows.fine = self.looks.fine
        plain = [Transformed(rows, CenterCrop(self.image_size)) for rows in sets]
        return Splits(sets[0], plain[1], *(plain if self._labels else ()))

    def _read_labels(self, parts: Sequence[Any], column: str) -> None:
        try:
            self._labels = read_labels(parts, column, self.looks.findings)
        except ValueError as error:
            if self.label_column is not None:
                raise
            self._about = f"No labels: {error}"  # nobody has asked for this column
            return
        self._about = self._labels.about if self._labels else f"No labels, for a part has none in `{column}`."


class Rows(Dataset):
    """Rows of one part of a data set as samples, with images of any size.

    Args:
        rows: that part.
        image: the column of images.
        labels: of the rows ``[n]`` or ``[n, C]``, or None.
        channels: of the images.
    """

    def __init__(self, rows: Any, image: str, labels: Tensor | None, channels: int) -> None:
        self.feature = rows.features[image]
        # content of files, not what the library makes of it: it cuts 16-bit colour to 8 bits
        self.rows = rows.select_columns([image]).cast_column(image, type(self.feature)(decode=False))
        self.image = image
        self.labels = labels
        self.channels = channels
        self.fine = False
        self.findings = Findings()
        # shared by the loading processes, so that each kind is told once and not by each of them
        self.told = torch.zeros((), dtype=torch.bool).share_memory_()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        findings = Findings()
        image = self._read(index, findings)
        if image.is_floating_point() and not self.fine:
            findings.note(COARSE)
        for what in findings.odd:
            if what not in self.findings.odd and not self.told:
                self.told.fill_(True)
                warnings.warn(
                    f"Row {index} is one of the images that {what}. No more is said of such rows.", stacklevel=2
                )
        sample: dict[str, Any] = {"image": to_float(image) if self.fine else to_uint8(image)}
        if self.labels is not None:
            label = self.labels[index]
            sample["label"] = label if label.is_floating_point() else label.long() if label.ndim else int(label)
        return sample

    def look(self, index: int) -> Tensor:
        """The image of a row as it is; `findings` are told what is odd."""
        return self._read(index, self.findings)

    def _read(self, index: int, findings: Findings) -> Tensor:
        name = f"row {index}"
        try:
            cell = self.rows[index][self.image]
            if cell is None or (cell["bytes"] is None and cell["path"] is None):
                raise Unreadable("there is none")
            if self.feature.mode is None and cell["bytes"] is not None:
                return read_image(BytesIO(cell["bytes"]), self.channels, findings=findings, name=name)
            if self.feature.mode is None and Path(cell["path"]).is_file():
                return read_image(Path(cell["path"]), self.channels, findings=findings, name=name)
            return from_pil(self.feature.decode_example(cell), self.channels, findings, name)
        except (Unreadable, OSError) as error:
            raise ValueError(f"Row {index} has an unreadable image in column `{self.image}`: {error}.") from error


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
    if image is not None and image not in images:
        near = f" Nearest: {', '.join(nearest(image, images, 1) or images)}." if images else ""
        raise ValueError(f"`image_column` must name a column of images, but {image!r} holds {kinds[image]}.{near}")
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    labels += [name for name in ("label", "labels") if kinds.get(name) in ("Value", "List", "LargeList", "Sequence")]
    return image or images[0], label or (labels[0] if labels else None)
